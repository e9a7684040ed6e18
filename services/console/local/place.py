"""Where a local installation keeps its things, and the one error that its commands end with.

It guards that secrets stand in files which only their owner reads; what the files mean is left to
the parts that use them.
"""

import hashlib
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOCKET_BYTES = 104
REPOSITORY = Path(__file__).resolve().parents[3]


class LocalError(Exception):
    """Something about this machine stops us; its text is one line for the person at it."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """The folder of one installation (`.run` by default); a test makes one of its own."""

    root: Path

    @property
    def secrets(self) -> Path:
        """Folder of secret files, 0700."""
        return self.root / "secrets"

    @property
    def logs(self) -> Path:
        """Folder of the processes' output."""
        return self.root / "logs"

    @property
    def pids(self) -> Path:
        """Folder of one file per process that we started."""
        return self.root / "pids"

    @property
    def kafka(self) -> Path:
        """Kafka's settings and data."""
        return self.root / "kafka"

    @property
    def socket(self) -> Path:
        """The vault's socket; under a deep folder in a private one of the system's (108 bytes)."""
        path = self.root / "vault.sock"
        if len(os.fsencode(path)) < SOCKET_BYTES:
            return path
        folder = Path(tempfile.gettempdir()) / f"cauce-{short_hash(self.root)}"
        make_folder(folder, mode=0o700)
        info = folder.stat()
        if info.st_uid != os.geteuid() or info.st_mode & 0o077:
            raise LocalError(f"{folder} belongs to somebody else: remove it")
        return folder / "vault.sock"

    def make(self) -> None:
        """Create the folders; existing ones stay."""
        for folder in (self.root, self.secrets, self.logs, self.pids):
            make_folder(folder, mode=0o700 if folder == self.secrets else 0o755)

    def secret(self, name: str) -> str:
        """Text of the secret `name`; a random one is made when there is none yet."""
        path = self.secrets / name
        if not path.exists():
            write_secret(path, secrets.token_urlsafe(32))
        return path.read_text(encoding="ascii").strip()


def default_place() -> Place:
    """The installation that `CAUCE_RUN` names, else `.run` beside the code."""
    return Place(root=Path(os.environ.get("CAUCE_RUN", REPOSITORY / ".run")).absolute())


def cache_folder() -> Path:
    """Folder of downloads shared by all installations of this user (`CAUCE_CACHE`)."""
    given = os.environ.get("CAUCE_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "cauce"


def short_hash(path: Path) -> str:
    """A short stable name for a folder."""
    return hashlib.sha256(str(path).encode()).hexdigest()[:12]


def make_folder(folder: Path, *, mode: int = 0o755) -> None:
    """Create `folder` with `mode`, or say in one line why not."""
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise LocalError(f"cannot make the folder {folder}: {error.strerror}") from error


def write_secret(path: Path, text: str) -> None:
    """Write a 0600 file in one step; of two writers the first wins and both read its text."""
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        Path(temporary).unlink()
