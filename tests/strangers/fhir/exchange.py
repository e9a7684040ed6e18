"""What a stranger at A has: the hub's address, its own key, and Bundles that its people filled in;
and, for the judge, what arrived at B.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

from joserfc import jwt
from joserfc.jwk import ECKey

from connectors.sandbox import journal
from connectors.sandbox.__main__ import RECIPIENT_SCOPE, SOURCE_SCOPE
from connectors.sandbox.samples import BASE
from services.console.local import plan
from tests.support.hub import Hub
from tests.support.withdrawal_world import home_of

SOURCE, PUSHED, PULLING = "ong-norte", "refugio-sur", "casa-quieta"
SERVICE_TYPES = ("shelter_specialized", "food", "health_medical")
SECONDS = 20.0
CANCELLED = {"coding": [{"system": f"{BASE}/CodeSystem/referral-reason-code", "code": "duplicate"}]}
"""Why a sender takes a referral back."""
Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """The running hub as its partners see it."""

    hub: Hub

    @property
    def url(self) -> str:
        """The hub's address."""
        return self.hub.settings.public_url

    @property
    def base(self) -> str:
        """The FHIR base."""
        return f"{self.url}/fhir"

    def assertion(self, org: str = SOURCE) -> str:
        """A client assertion signed with the partner's key."""
        key = ECKey.import_key((home_of(self.hub.place, org) / "client.es384").read_text())
        claims = {
            "iss": org,
            "sub": org,
            "aud": f"{self.url}/oauth/token",
            "exp": int(time.time()) + 240,
            "jti": str(uuid4()),
        }
        header = {"alg": "ES384", "typ": "JWT", "kid": key.thumbprint()}
        return jwt.encode(header, claims, key, algorithms=["ES384"])

    def deliveries(self) -> list[list[dict[str, Any]]]:
        """The resources of each transaction that the pushed recipient has taken, oldest first."""
        file = plan.partner_home(self.hub.place, PUSHED) / "data" / "refugio.jsonl"
        records = journal.read(file) if file.exists() else ()
        return [record["resources"] for record in records if record["kind"] == "effect"]

    def arrived(self, kind: str) -> list[dict[str, Any]]:
        """Resources of a type that the pushed recipient has been given, oldest first."""
        return [r for taken in self.deliveries() for r in taken if r["resourceType"] == kind]


def scope_of(org: str) -> str:
    """What a partner's system asks for."""
    return SOURCE_SCOPE if org == SOURCE else RECIPIENT_SCOPE


def until(ask: Callable[[], Found], what: str) -> Found:
    """Ask again until there is an answer."""
    end = time.monotonic() + SECONDS
    while not (found := ask()):
        assert time.monotonic() < end, what
        time.sleep(0.1)
    return found
