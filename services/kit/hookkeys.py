"""The keys of webhooks: those we sign with, and those by which a partner's answers are known.

It guards that a message is signed with what was agreed with its receiver or not at all, and that
keys change without a restart: files are read again after `FRESH_SECONDS`. The hub's own key is
`webhook.ed25519`; a file `webhook.old.ed25519` beside it keeps signing while partners change to the
new one. A shared secret is `webhook.<org>`: one `whsec_…` a line, the newest first, at most two.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from connectors.webhook import signing
from connectors.webhook.signing import Key, Signer, SigningError
from services.kit.crypto import (
    CryptoError,
    constant_equal,
    ed25519_public,
    mac_sha256,
    sign_ed25519,
    verify_ed25519,
)
from services.kit.partner import Webhook

FRESH_SECONDS: Final = 5.0
MOST: Final = 2
"""Keys at once: the one in use and the one before it."""
OWN: Final = ("webhook.ed25519", "webhook.old.ed25519")


class HookKeys:
    """Keys by organisation, as of at most five seconds ago."""

    def __init__(self, secrets_dir: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._folder = secrets_dir
        self._monotonic = monotonic
        self._known: dict[str, tuple[float, tuple[bytes, ...]]] = {}

    def signers(self, org: str, hook: Webhook) -> list[Signer]:
        """What signs messages to this organisation; SigningError (`key`) when there is none."""
        if hook.scheme == "v1":
            return _some([signing.shared_signer(one, mac_sha256) for one in self._shared(org)])
        return self.own()

    def own(self) -> list[Signer]:
        """The hub's own keys; SigningError (`key`) when there is none."""
        return _some([signing.own_signer(seed, sign_ed25519) for seed in self._seeds()])

    def keys(self, org: str, hook: Webhook) -> list[Key]:
        """What an organisation's own messages may be signed with; none: none of them counts."""
        if hook.scheme == "v1":
            return [signing.shared_key(s, mac_sha256, constant_equal) for s in self._shared(org)]
        public = [signing.key_bytes(one, "whpk_") for one in hook.public_keys]
        return [signing.public_key(one, verify_ed25519) for one in public]

    def public(self) -> list[str]:
        """The hub's public keys (`whpk_…`), the newest first."""
        return [signing.written("whpk_", ed25519_public(seed)) for seed in self._seeds()]

    def _seeds(self) -> list[bytes]:
        return [seed for name in OWN for seed in self._read(name, _seed)]

    def _shared(self, org: str) -> tuple[bytes, ...]:
        return self._read(f"webhook.{org}", _secrets)

    def _read(self, name: str, parse: Callable[[bytes], tuple[bytes, ...]]) -> tuple[bytes, ...]:
        now = self._monotonic()
        known = self._known.get(name)
        if known is not None and now - known[0] < FRESH_SECONDS:
            return known[1]
        try:
            found = parse((self._folder / name).read_bytes())
        except FileNotFoundError:
            found = ()
        self._known[name] = (now, found)
        return found


def _some(signers: list[Signer]) -> list[Signer]:
    if not signers:
        raise SigningError("key")
    return signers


def _seed(raw: bytes) -> tuple[bytes, ...]:
    try:
        ed25519_public(raw)
    except CryptoError:
        raise SigningError("key") from None
    return (raw,)


def _secrets(raw: bytes) -> tuple[bytes, ...]:
    lines = raw.decode("ascii", "replace").split()[:MOST]
    return tuple(signing.key_bytes(line, "whsec_") for line in lines)
