"""The admin port as a named person: key file, signed assertion, short session, one call.

It guards that the command line never reaches a database and that what goes wrong is one line that
says what to do. Who may do what is the gateway's to say.
"""

import http.client
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit
from uuid import uuid4

from services.console.local.place import LocalError, default_place
from services.kit.crypto import CryptoError, jwk_of, make_jwt_es384
from services.kit.settings import Settings
from services.kit.staff import audience

TIMEOUT_SECONDS: Final = 30
ASSERTION_SECONDS: Final = 60
_KEPT: Final = "/?=&%:+-_."
WHO_FILE: Final = "who.json"
"""In the folder of a person's settings: `{staff_id, key, admin_url, cell}`."""

ADVICE: Final[Mapping[str, str]] = {
    "assertion-refused": "the hub does not know this person or key: ask an operator for"
    " `cauce staff add`, or set CAUCE_STAFF_ID and CAUCE_STAFF_KEY",
    "session-ended": "this person was disabled: ask an operator",
    "role-missing": "your roles do not allow this: see `cauce staff list`",
    "same-person": "another person must do this: you did the step before",
    "same-organisation": "a person of another organisation must approve",
    "nothing-pending": "nothing waits for activation: propose it with `cauce partner add FILE`",
    "pending-changed": "the record changed since you looked: run `cauce partner show` again",
    "partner-unknown": "there is no such partner: see `cauce partner list`",
    "never-active": "the partner was never active",
    "staff-exists": "there is a person with this id already",
    "staff-unknown": "there is no such person: see `cauce staff list`",
    "last-operator": "one active operator must remain",
    "bootstrap-over": "there are people already: an operator adds the next one",
    "bootstrap-refused": "the bootstrap secret is wrong: read it from the installation's secrets",
    "referral-unknown": "there is no such referral: see `cauce referral list`",
    "consent-unknown": "there is no such consent, case or referral",
    "consent-over": "nothing of it is left to take back: see `cauce consent show`",
    "notice-unknown": "there is no such notice: see `cauce consent notices --all`",
    "notice-closed": "the notice was closed before",
    "case-unknown": "there is no such case: `cauce referral list` shows each referral's",
    "opening-unknown": "you asked for no such opening: see `cauce identity list`",
    "opening-needed": "ask first: `cauce identity request CASE --reason subject_access`",
    "opening-not-approved": "a person of another organisation has not approved it yet:"
    " `cauce identity approve OPENING`",
    "opening-approved": "it was approved before",
    "opening-expired": "more than 24 hours have passed since it was asked for: ask again",
    "opening-used": "it was used before: an opening shows once; ask again",
    "opening-other-case": "that opening was approved for another case",
    "opening-other-reason": "that opening was approved for another reason than subject_access",
    "opening-is-for-report": "it was approved for an access report:"
    " `cauce identity access-report --case CASE --lang LANG --out DIR`",
    "version-unknown": "the vault holds no record of this case",
    "key-dead": "the keys of this record were destroyed: nobody can read it any more",
    "quota": "too many people were shown in this minute: try again in the next",
    "service-unknown": "there is no such service: see `cauce directory list`",
    "topic-unknown": "there is no such topic: see `cauce topic list`",
    "dead-unknown": "nothing of that id was set aside: see `cauce dead list`",
    "not-parked": "the case is not parked any more",
    "not-held": "the delivery is not held any more",
    "consumer-elsewhere": "that consumer runs in another process: replay it there",
    "still-failing": "it fails again",
    "event-expired": "the event is older than the log's retention",
    "parked-is-replayed": "a parked case cannot be given up: mend the cause and replay",
    "not-signed-yet": "the leaf stands in no signed checkpoint yet: run `cauce custody checkpoint`",
    "not-found": "the hub has nothing there (references are UUIDs)",
    "unavailable": "the hub cannot reach one of its parts: see `cauce status`",
    "internal": "the hub met a fault: see its log",
}


class CallError(LocalError):
    """The hub said no; `code` is its code."""

    def __init__(self, code: str, line: str, faults: list[dict[str, str]] | None = None) -> None:
        super().__init__(line)
        self.code = code
        self.faults = faults or []


@dataclass(frozen=True, kw_only=True)
class Who:
    """The person at the command line."""

    staff_id: str
    key: Path
    admin_url: str
    cell: str = "cell-demo"


def who(environment: Mapping[str, str] | None = None) -> Who:
    """From CAUCE_STAFF_ID, CAUCE_STAFF_KEY, CAUCE_ADMIN_URL; else a file; else the demo's."""
    env = os.environ if environment is None else environment
    found = _from_file(env)
    staff_id = env.get("CAUCE_STAFF_ID") or found.get("staff_id")
    key = env.get("CAUCE_STAFF_KEY") or _key_beside(env, staff_id) or found.get("key")
    if not staff_id or not key:
        raise LocalError(
            "who are you? Set CAUCE_STAFF_ID and CAUCE_STAFF_KEY (a key file), or run `make run`,"
            " which makes demo people"
        )
    url = env.get("CAUCE_ADMIN_URL") or found.get("admin_url") or _default_url(env)
    cell = env.get("CAUCE_CELL") or found.get("cell") or Settings().cell
    return Who(staff_id=staff_id, key=Path(key), admin_url=url.rstrip("/"), cell=cell)


def _default_url(env: Mapping[str, str]) -> str:
    return f"http://127.0.0.1:{env.get('CAUCE_ADMIN_PORT', Settings().admin_port)}"


def _from_file(env: Mapping[str, str]) -> dict[str, str]:
    home = Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME", "/")) / ".config")
    for folder in (default_place().root / "staff", home / "cauce"):
        path = folder / WHO_FILE
        if path.is_file():
            try:
                return {str(k): str(v) for k, v in json.loads(path.read_text("utf-8")).items()}
            except (ValueError, AttributeError):
                raise LocalError(f"{path} is not a JSON object: remove or mend it") from None
    return {}


def _key_beside(env: Mapping[str, str], staff_id: str | None) -> str | None:
    """The key of a demo person that CAUCE_STAFF_ID names."""
    path = default_place().root / "staff" / f"{staff_id}.pem"
    return str(path) if "CAUCE_STAFF_ID" in env and path.is_file() else None


@dataclass
class Client:
    """Calls of one person; the session is opened at the first."""

    who: Who | None = None
    """None: whoever the environment says, asked when first needed."""
    _token: str | None = field(default=None, repr=False)

    def get(self, path: str) -> dict[str, Any]:
        """A read; CallError when the hub says no."""
        return self._call("GET", path, None)

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A change; CallError when the hub says no."""
        return self._call("POST", path, body or {})

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        self.who = self.who or who()
        if self._token is None:
            sent = {"staff_id": self.who.staff_id, "assertion": assertion(self.who)}
            answer = call(self.who.admin_url, "POST", "/admin/session", sent)
            self._token = str(answer["token"])
        return call(self.who.admin_url, method, path, body, f"Bearer {self._token}")


def assertion(of: Who) -> str:
    """A token by which a person proves who they are, good for a minute."""
    try:
        pem = of.key.read_bytes()
        kid = jwk_of(pem)["kid"]
    except OSError as error:
        raise LocalError(f"cannot read the key {of.key}: {error.strerror}") from None
    except (CryptoError, ValueError):
        raise LocalError(f"{of.key} is no P-384 private key in PEM form") from None
    claims = {
        "iss": of.staff_id,
        "sub": of.staff_id,
        "aud": audience(of.cell),
        "exp": int(time.time()) + ASSERTION_SECONDS,
        "jti": str(uuid4()),
    }
    return make_jwt_es384(pem, {"kid": kid, "typ": "JWT"}, claims)


def call(
    admin_url: str,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    authorization: str | None = None,
) -> dict[str, Any]:
    """One request to the admin port; CallError for a refusal, LocalError where nobody answers."""
    parts = urlsplit(admin_url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "127.0.0.1", parts.port, timeout=TIMEOUT_SECONDS)
    headers = {"Content-Type": "application/json"}
    if authorization:
        headers["Authorization"] = authorization
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, quote(path, safe=_KEPT), body=payload, headers=headers)
        response = connection.getresponse()
        raw = response.read()
    except (OSError, http.client.HTTPException):
        raise LocalError(
            f"no hub answers at {admin_url}: start it with `cauce up`, or set CAUCE_ADMIN_URL"
        ) from None
    finally:
        connection.close()
    answer = _object(raw)
    if response.status >= http.client.BAD_REQUEST:
        raise _refusal(answer)
    return answer


def _object(raw: bytes) -> dict[str, Any]:
    """The JSON object of an answer; empty where it is none."""
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _refusal(answer: dict[str, Any]) -> CallError:
    code = str(answer.get("code", "not-found"))
    faults = [f for f in answer.get("faults", []) if isinstance(f, dict)]
    named = "; ".join(f"{f.get('field') or 'file'}: {f.get('rule')}" for f in faults)
    line = ADVICE.get(code, code)
    return CallError(code, f"{line} ({named})" if named else line, faults)
