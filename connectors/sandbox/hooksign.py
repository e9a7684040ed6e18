"""Signed webhooks at a partner's system: checks the hub's messages and signs its own (`v1a`).

A partner's system is a stranger to the hub, so it brings its own code for this format; the
product's is `connectors/webhook/signing.py`.
"""

import base64
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import orjson
from joserfc.jwk import OKPKey

TOLERANCE_SECONDS = 60


def new_key(path: Path) -> None:
    """Write a new private key (JWK) to a file of the owner's alone."""
    path.touch(mode=0o600)
    path.write_bytes(orjson.dumps(OKPKey.generate_key("Ed25519").as_dict(private=True)))


class HookKey:
    """The partner's own key."""

    def __init__(self, path: Path) -> None:
        self._key = OKPKey.import_key(orjson.loads(path.read_bytes()))

    @property
    def public(self) -> str:
        """As the hub's record of the partner has it."""
        raw = base64.urlsafe_b64decode(str(self._key.as_dict(private=False)["x"]) + "==")
        return "whpk_" + base64.b64encode(raw).decode()

    def headers(self, mark: str, body: bytes) -> dict[str, str]:
        """The headers of a message; `mark` is the same in a repeat."""
        at = str(int(time.time()))
        signature = self._key.private_key.sign(_message(mark, at, body))  # type: ignore[union-attr]
        return {
            "webhook-id": mark,
            "webhook-timestamp": at,
            "webhook-signature": "v1a," + base64.b64encode(signature).decode(),
        }


@lru_cache(maxsize=4)
def _public(text: str) -> OKPKey:
    raw = base64.b64decode(text.removeprefix("whpk_"))
    x = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": x})


def is_from(public: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a message was signed by the holder of a `whpk_…` key, a minute ago at most."""
    key = _public(public)
    at = headers.get("webhook-timestamp", "")
    if not at.isdigit() or abs(time.time() - int(at)) > TOLERANCE_SECONDS:
        return False
    message = _message(headers.get("webhook-id", ""), at, body)
    given = headers.get("webhook-signature", "").split()
    return any(_fits(key, message, one) for one in given)


def _fits(key: OKPKey, message: bytes, signature: str) -> bool:
    scheme, _, encoded = signature.partition(",")
    if scheme != "v1a":
        return False
    try:
        key.public_key.verify(base64.b64decode(encoded), message)  # type: ignore[union-attr]
    except Exception:  # noqa: BLE001 -- whatever is wrong with it, it is not theirs
        return False
    return True


def _message(mark: str, at: str, body: bytes) -> bytes:
    return b".".join((mark.encode(), at.encode(), body))
