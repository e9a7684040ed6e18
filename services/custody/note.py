"""Checkpoints as C2SP signed notes: what the log says about itself, signed with Ed25519.

Pure over the keys given. It guards the exact bytes that are signed; storing them is the store's.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final

from services.kit.crypto import sign_ed25519, verify_ed25519

_ED25519: Final = b"\x01"
_DASH: Final = "\u2014"


class NoteError(ValueError):
    """The text is no checkpoint of this log under this key."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree's size and root under the log's name."""

    origin: str
    size: int
    root: bytes

    @property
    def body(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def key_id(origin: str, public: bytes) -> bytes:
    """The four bytes that name an Ed25519 key in a signature line."""
    return hashlib.sha256(origin.encode() + b"\n" + _ED25519 + public).digest()[:4]


def verifier_key(origin: str, public: bytes) -> str:
    """The key as a verifier's line: `name+hash+base64`."""
    key = base64.b64encode(_ED25519 + public).decode()
    return f"{origin}+{key_id(origin, public).hex()}+{key}"


def sign(checkpoint: Checkpoint, seed: bytes, public: bytes) -> str:
    """The signed note."""
    signature = key_id(checkpoint.origin, public) + sign_ed25519(seed, checkpoint.body.encode())
    line = f"{_DASH} {checkpoint.origin} {base64.b64encode(signature).decode()}\n"
    return f"{checkpoint.body}\n{line}"


def verify(note: str, origin: str, public: bytes) -> Checkpoint:
    """The checkpoint a note states, if this key signed it; NoteError."""
    body, gap, lines = note.partition("\n\n")
    parts = body.split("\n")
    if not gap or len(parts) != 3 or parts[0] != origin or not parts[1].isdigit():
        raise NoteError("not a checkpoint of this log")
    try:
        checkpoint = Checkpoint(origin, int(parts[1]), base64.b64decode(parts[2], validate=True))
        if checkpoint.body == body + "\n" and any(
            _signed(checkpoint, line, public) for line in lines.splitlines()
        ):
            return checkpoint
    except (binascii.Error, ValueError):
        pass
    raise NoteError("not signed by this key")


def _signed(checkpoint: Checkpoint, line: str, public: bytes) -> bool:
    prefix = f"{_DASH} {checkpoint.origin} "
    if not line.startswith(prefix):
        return False
    text = line.removeprefix(prefix)
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        return False
    return raw[:4] == key_id(checkpoint.origin, public) and verify_ed25519(
        public, checkpoint.body.encode(), raw[4:]
    )
