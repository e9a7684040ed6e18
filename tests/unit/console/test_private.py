"""A private folder is new, its owner's alone, and whole or not there."""

import os
from pathlib import Path

import pytest

from services.console.local.place import LocalError
from services.console.private import private_folder


def test_folder_and_files_are_their_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with private_folder(tmp_path / "out") as out:
            out.write("a.txt", b"one")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "out" / "a.txt").stat().st_mode & 0o777 == 0o600


def test_what_is_there_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(LocalError, match="is there already"), private_folder(tmp_path / "out"):
        raise AssertionError
    with pytest.raises(LocalError, match="cannot make"), private_folder(tmp_path / "no" / "out"):
        raise AssertionError
    with private_folder(tmp_path / "new") as out:
        out.write("a.txt", b"one")
        with pytest.raises(FileExistsError):
            out.write("a.txt", b"two")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"one"


@pytest.mark.parametrize("name", ["../a", "/etc/a", "", ".", "..", ".hidden", "a/b"])
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_stays(
    tmp_path: Path, name: str
) -> None:
    def fill() -> None:
        with private_folder(tmp_path / "out") as out:
            out.write("a.txt", b"one")
            out.write(name, b"two")

    with pytest.raises(LocalError):
        fill()
    assert list(tmp_path.iterdir()) == []
