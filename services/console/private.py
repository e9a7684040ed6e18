"""A folder for what only the person at the command line may read.

It guards that nothing is overwritten, that folder and files are their owner's alone from the first
byte, and that a folder which could not be filled does not stay half full.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.console.local.place import LocalError


class PrivateFolder:
    """A new folder, 0700, of files, 0600."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._written: list[Path] = []

    def write(self, name: str, content: bytes) -> None:
        """Write a new file of this folder; LocalError for a name that leads elsewhere."""
        if not name or name != Path(name).name or name.startswith("."):
            raise LocalError("the hub named a file that does not belong into the folder")
        path = self.root / name
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        self._written.append(path)
        with os.fdopen(handle, "wb") as file:
            file.write(content)

    def remove(self) -> None:
        """Take back what was written."""
        for path in self._written:
            path.unlink(missing_ok=True)
        self.root.rmdir()


@contextmanager
def private_folder(root: Path) -> Iterator[PrivateFolder]:
    """Make the folder, which must be new; it goes again when filling it fails."""
    try:
        root.mkdir(mode=0o700)
    except FileExistsError:
        raise LocalError(f"{root} is there already: name a folder that is not") from None
    except OSError as error:
        raise LocalError(f"cannot make the folder {root}: {error.strerror}") from None
    folder = PrivateFolder(root)
    try:
        yield folder
    except BaseException:
        folder.remove()
        raise
