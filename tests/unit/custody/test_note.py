import pytest

from services.custody import note
from services.kit.crypto import new_ed25519

ORIGIN = "cauce.example/custody/cell-demo"


def test_a_checkpoint_is_read_back_and_every_changed_byte_is_noticed() -> None:
    seed, public = new_ed25519()
    made = note.Checkpoint(ORIGIN, 7, b"\x07" * 32)
    text = note.sign(made, seed, public)
    assert note.verify(text, ORIGIN, public) == made
    for i in range(len(text)):
        changed = text[:i] + ("0" if text[i] != "0" else "1") + text[i + 1 :]
        with pytest.raises(note.NoteError):
            note.verify(changed, ORIGIN, public)


def test_another_key_or_name_does_not_verify() -> None:
    seed, public = new_ed25519()
    text = note.sign(note.Checkpoint(ORIGIN, 1, b"\x01" * 32), seed, public)
    with pytest.raises(note.NoteError):
        note.verify(text, ORIGIN, new_ed25519()[1])
    with pytest.raises(note.NoteError):
        note.verify(text, "cauce.example/custody/other", public)


def test_the_verifiers_key_names_the_log() -> None:
    _, public = new_ed25519()
    name, key_hash, _ = note.verifier_key(ORIGIN, public).split("+", 2)
    assert name == ORIGIN
    assert key_hash == note.key_id(ORIGIN, public).hex()
