"""Clients of partners' systems, one per partner and version of its connector settings."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from connectors.fhir_r4.client import SCOPE, Endpoint, FhirClient
from connectors.sdk.errors import Refuse
from connectors.sdk.http import Http
from connectors.webhook.client import WebhookClient
from connectors.webhook.mapping import Note
from connectors.webhook.signing import SigningError
from services.kit.crypto import jwk_of, make_jwt_es384
from services.kit.hookkeys import HookKeys
from services.kit.partners import Connector, Partner


class Links:
    """Clients by partner; they share one pool of connections and our keys."""

    def __init__(self, http: Http, pem: bytes, hook_keys: HookKeys, url: str) -> None:
        self.http = http
        self.url = url
        """Where partners reach the hub."""
        self.hook_keys = hook_keys
        self._hooks = WebhookClient(http, f"{url}/v1")
        self._pem = pem
        self._kid = str(jwk_of(pem)["kid"])
        self._made: dict[str, tuple[Connector, FhirClient]] = {}

    def client(self, partner: Partner) -> FhirClient:
        """The partner's client; Refuse for a partner without a connector we speak."""
        connector = partner.connector
        if connector is None or connector.name != "fhir_r4":
            raise Refuse("connector-unknown", "connector.name")
        known = self._made.get(partner.org)
        if known is not None and known[0] == connector:
            return known[1]
        endpoint = Endpoint(
            base_url=connector.base_url.rstrip("/"),
            token_url=connector.token_url,
            client_id=connector.client_id,
            kid=self._kid,
            scope=connector.scope or SCOPE,
        )
        made = FhirClient(self.http, endpoint, self._sign)
        self._made[partner.org] = (connector, made)
        return made

    async def tell(
        self,
        partner: Partner,
        note: Note,
        now: datetime,
        *,
        deadline: float | None = None,
        on_write: Callable[[], None] | None = None,
    ) -> None:
        """Call the partner's webhook; Refuse for a partner without one, or without its key."""
        hook = partner.webhook
        if hook is None:
            raise Refuse("webhook-missing", "webhook.url")
        try:
            signers = self.hook_keys.signers(partner.org, hook)
        except SigningError:
            raise Refuse("webhook-key-missing", "webhook.scheme") from None
        await self._hooks.send(hook.url, note, signers, now, deadline=deadline, on_write=on_write)

    def _sign(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        return make_jwt_es384(self._pem, header, claims)

    async def close(self) -> None:
        """Close all connections."""
        await self.http.close()
