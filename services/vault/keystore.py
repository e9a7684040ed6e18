"""Where data keys get their wrapping: a root key, and one epoch key a day in a file of its own.

It guards that a data key lies in the database only wrapped under an epoch key, and that destroying
an epoch's file makes every copy wrapped under it worthless. Which rows to wrap anew, and when an
epoch ends, is left to `epochs`. Other keystores (PKCS#11, OpenBao) stand behind the same Protocol.
"""

import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

from services.kit import crypto
from services.kit.db import Unavailable

_FILE: Final = re.compile(r"([0-9]{1,9})\.key")
_LOOK_SECONDS: Final = 1.0
"""How long the newest epoch is remembered: another process may have begun one."""


class EpochMissingError(Unavailable):
    """A row is wrapped under an epoch whose key is not here: an alarm, never skipped."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"epoch {epoch}")
        self.epoch = epoch


@dataclass(frozen=True, slots=True, order=True)
class KeyName:
    """Which data key: its wrapping opens for no other."""

    case_ref: UUID
    purpose: str
    version: int

    def associated(self) -> bytes:
        """What the wrapping is bound to."""
        version = self.version.to_bytes(4, "big")
        return crypto.joined(b"data-key", self.case_ref.bytes, self.purpose.encode(), version)


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A data key under the key of an epoch."""

    epoch: int
    data: bytes = field(repr=False)


class Keystore(Protocol):
    """Wraps data keys under the epoch of the day."""

    def wrap(self, name: KeyName, key: bytes) -> Wrapped:
        """Wrap under the newest epoch."""

    def unwrap(self, name: KeyName, wrapped: Wrapped) -> bytes:
        """The key; EpochMissingError without its epoch, CryptoError when it is another's row."""

    def rewrap_all(self, rows: Sequence[tuple[KeyName, Wrapped]]) -> list[Wrapped]:
        """The same keys under the newest epoch."""

    def epochs(self) -> list[int]:
        """The epochs whose keys are here, oldest first."""

    def make_epoch(self, epoch: int) -> None:
        """Make the key of a new epoch, durable before it returns; one that exists stays."""

    def destroy_epoch(self, epoch: int) -> None:
        """Destroy the key for good. The caller has wrapped its rows anew and committed."""


class FileKeystore:
    """The default: epoch keys as 0600 files, wrapped under a root key in another file."""

    def __init__(self, folder: Path, root_key: bytes) -> None:
        self._folder = folder
        self._root = root_key
        self._keys: dict[int, bytes] = {}
        self._newest = (0, 0.0)

    def wrap(self, name: KeyName, key: bytes) -> Wrapped:
        """Wrap under the newest epoch."""
        epoch = self.newest()
        return Wrapped(epoch, crypto.aead_seal(self._key(epoch), None, key, name.associated()))

    def unwrap(self, name: KeyName, wrapped: Wrapped) -> bytes:
        """The key; EpochMissingError without its epoch, CryptoError when it is another's row."""
        return crypto.aead_open(self._key(wrapped.epoch), wrapped.data, name.associated())

    def rewrap_all(self, rows: Sequence[tuple[KeyName, Wrapped]]) -> list[Wrapped]:
        """The same keys under the newest epoch."""
        return [self.wrap(name, self.unwrap(name, wrapped)) for name, wrapped in rows]

    def epochs(self) -> list[int]:
        """The epochs whose keys are here, oldest first."""
        found = (_FILE.fullmatch(entry.name) for entry in self._folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def newest(self) -> int:
        """The epoch new keys are wrapped under; EpochMissingError when there is none."""
        epoch, looked = self._newest
        if epoch == 0 or time.monotonic() - looked > _LOOK_SECONDS:
            epoch = max(self.epochs(), default=0)
            self._newest = (epoch, time.monotonic())
        if epoch == 0:
            raise EpochMissingError(0)
        return epoch

    def make_epoch(self, epoch: int) -> None:
        """Make the key of a new epoch, durable before it returns; one that exists stays."""
        temporary = self._folder / f".{epoch}.{crypto.random_bytes(8).hex()}"
        content = crypto.wrap(self._root, crypto.random_bytes(crypto.KEY_BYTES))
        _write(temporary, content, os.O_CREAT | os.O_EXCL)
        with suppress(FileExistsError):
            os.link(temporary, self._path(epoch))
        temporary.unlink()
        self._newest = (0, 0.0)
        self._sync()

    def destroy_epoch(self, epoch: int) -> None:
        """Destroy the key for good. The caller has wrapped its rows anew and committed."""
        self._keys.pop(epoch, None)
        self._newest = (0, 0.0)
        path = self._path(epoch)
        with suppress(FileNotFoundError):
            _write(path, bytes(path.stat().st_size), 0)
            path.unlink()
        self._sync()

    def _path(self, epoch: int) -> Path:
        return self._folder / f"{epoch}.key"

    def _key(self, epoch: int) -> bytes:
        if epoch not in self._keys:
            try:
                self._keys[epoch] = crypto.unwrap(self._root, self._path(epoch).read_bytes())
            except FileNotFoundError:
                raise EpochMissingError(epoch) from None
        return self._keys[epoch]

    def _sync(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write(path: Path, content: bytes, flags: int) -> None:
    handle = os.open(path, os.O_WRONLY | flags, 0o600)
    try:
        os.write(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
