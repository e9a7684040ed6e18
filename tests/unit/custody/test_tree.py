"""The custody tree agrees with an independent implementation and catches every change."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from services.custody import tree


def leaves(count: int) -> list[bytes]:
    return [hashlib.sha256(b"\x00" + bytes([i % 256, i // 256])).digest() for i in range(count)]


class Nodes(dict[tuple[int, int], bytes]):
    """A grown tree: its complete nodes."""

    def __init__(self, hashes: list[bytes], step: int = 1) -> None:
        super().__init__()
        for start in range(0, len(hashes), step):
            for level, index, digest in tree.append(start, hashes[start : start + step], self.at):
                self[level, index] = digest

    def at(self, level: int, index: int) -> bytes:
        return self[level, index]


def test_roots_equal_an_independent_implementation() -> None:
    """Pymerkle, another's code, computes the same root at each size."""
    other = InmemoryTree(algorithm="sha256")
    for size in range(1, 70):
        other.append_entry(bytes([(size - 1) % 256, (size - 1) // 256]))
        nodes = Nodes(leaves(size))
        assert tree.root(size, nodes.at) == other.get_root(size)


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    """RFC 6962 §2.1."""
    assert tree.root(0, Nodes([]).at) == hashlib.sha256(b"").digest()


def test_growing_in_any_step_makes_the_same_nodes() -> None:
    """A batch of leaves and one leaf at a time give one tree."""
    assert Nodes(leaves(100), 1) == Nodes(leaves(100), 7) == Nodes(leaves(100), 64)


def test_every_inclusion_and_consistency_proof_up_to_40_holds() -> None:
    """All (index, size) and (old, size)."""
    nodes = Nodes(leaves(40))
    for size in range(1, 41):
        root = tree.root(size, nodes.at)
        for index, leaf in enumerate(leaves(size)):
            proof = tree.inclusion_proof(index, size, nodes.at)
            assert tree.verify_inclusion(leaf, index, size, proof, root)
        for old in range(1, size + 1):
            proof = tree.consistency_proof(old, size, nodes.at)
            old_root = tree.root(old, nodes.at)
            assert tree.verify_consistency(old, size, old_root, root, proof)


@given(st.integers(1, 60), st.data())
def test_a_changed_leaf_index_or_path_never_verifies(size: int, data: st.DataObject) -> None:
    """Any single change is caught."""
    nodes = Nodes(leaves(size))
    root = tree.root(size, nodes.at)
    index = data.draw(st.integers(0, size - 1))
    proof = tree.inclusion_proof(index, size, nodes.at)
    leaf = leaves(size)[index]
    assert not tree.verify_inclusion(hashlib.sha256(leaf).digest(), index, size, proof, root)
    assert not tree.verify_inclusion(leaf, index, size, [*proof, leaf], root)
    assert not tree.verify_inclusion(leaf, size, size, proof, root)
    for place in range(len(proof)):
        bent = [*proof[:place], bytes(32), *proof[place + 1 :]]
        assert not tree.verify_inclusion(leaf, index, size, bent, root)


@given(st.integers(2, 60), st.data())
def test_a_rewritten_history_never_proves_consistent(size: int, data: st.DataObject) -> None:
    """A tree in which an old leaf was changed does not extend the old tree."""
    old = data.draw(st.integers(1, size - 1))
    changed = data.draw(st.integers(0, old - 1))
    honest = Nodes(leaves(size))
    forged_leaves = leaves(size)
    forged_leaves[changed] = bytes(32)
    forged = Nodes(forged_leaves)
    proof = tree.consistency_proof(old, size, forged.at)
    old_root, new_root = tree.root(old, honest.at), tree.root(size, forged.at)
    assert not tree.verify_consistency(old, size, old_root, new_root, proof)


def test_proofs_outside_the_tree_are_refused() -> None:
    """No proof is made for what is not there."""
    nodes = Nodes(leaves(3))
    with pytest.raises(ValueError, match="no such leaf"):
        tree.inclusion_proof(3, 3, nodes.at)
    with pytest.raises(ValueError, match="no such older tree"):
        tree.consistency_proof(0, 3, nodes.at)
