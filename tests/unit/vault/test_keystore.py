"""The file keystore: what an epoch's file opens, and that nothing does without it."""

from pathlib import Path
from uuid import uuid4

import pytest

from services.kit.crypto import CryptoError
from services.vault import records
from services.vault.keystore import EpochMissingError, FileKeystore, KeyName, Wrapped

ROOT = bytes(range(32))
NAME = KeyName(uuid4(), "service_referral", 1)


@pytest.fixture
def store(tmp_path: Path) -> FileKeystore:
    made = FileKeystore(tmp_path, ROOT)
    made.make_epoch(1)
    return made


def test_a_key_opens_under_its_own_name_only(store: FileKeystore) -> None:
    wrapped = store.wrap(NAME, b"k" * 32)
    assert store.unwrap(NAME, wrapped) == b"k" * 32
    for other in (
        KeyName(uuid4(), NAME.purpose, 1),
        KeyName(NAME.case_ref, "legal_assistance", 1),
        KeyName(NAME.case_ref, NAME.purpose, 2),
    ):
        with pytest.raises(CryptoError):
            store.unwrap(other, wrapped)


def test_keys_go_under_the_newest_epoch_and_rewrapping_moves_them(store: FileKeystore) -> None:
    old = store.wrap(NAME, b"k" * 32)
    store.make_epoch(2)
    assert (old.epoch, store.wrap(NAME, b"x" * 32).epoch) == (1, 2)
    (new,) = store.rewrap_all([(NAME, old)])
    assert (new.epoch, store.unwrap(NAME, new)) == (2, b"k" * 32)


def test_nothing_opens_after_its_epoch_is_destroyed(store: FileKeystore, tmp_path: Path) -> None:
    old = store.wrap(NAME, b"k" * 32)
    store.make_epoch(2)
    store.destroy_epoch(1)
    store.destroy_epoch(1)
    assert store.epochs() == [2]
    for keystore in (store, FileKeystore(tmp_path, ROOT)):
        with pytest.raises(EpochMissingError):
            keystore.unwrap(NAME, old)
    with pytest.raises(CryptoError):
        store.unwrap(NAME, Wrapped(2, old.data))


def test_making_an_epoch_again_keeps_its_key(store: FileKeystore, tmp_path: Path) -> None:
    wrapped = store.wrap(NAME, b"k" * 32)
    store.make_epoch(1)
    assert FileKeystore(tmp_path, ROOT).unwrap(NAME, wrapped) == b"k" * 32
    assert [path.name for path in tmp_path.iterdir()] == ["1.key"]
    assert (tmp_path / "1.key").stat().st_mode & 0o777 == 0o600


def test_without_the_root_key_an_epoch_file_opens_nothing(
    store: FileKeystore, tmp_path: Path
) -> None:
    wrapped = store.wrap(NAME, b"k" * 32)
    with pytest.raises(CryptoError):
        FileKeystore(tmp_path, bytes(32)).unwrap(NAME, wrapped)


def test_an_empty_folder_wraps_nothing(tmp_path: Path) -> None:
    with pytest.raises(EpochMissingError):
        FileKeystore(tmp_path, ROOT).wrap(NAME, b"k" * 32)


def test_a_record_opens_only_in_its_own_place() -> None:
    place = (uuid4(), 1, uuid4())
    sealed = records.seal(ROOT, *place, b"record")
    assert records.unseal(ROOT, *place, sealed) == b"record"
    for other in (
        (uuid4(), 1, place[2]),
        (place[0], 2, place[2]),
        (place[0], 1, uuid4()),
    ):
        with pytest.raises(CryptoError):
            records.unseal(ROOT, *other, sealed)


def test_reprs_show_no_key(store: FileKeystore) -> None:
    wrapped = store.wrap(NAME, b"k" * 32)
    assert repr(wrapped.data) not in repr(wrapped)
    assert "data" not in repr(wrapped)
