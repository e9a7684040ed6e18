"""The tree against pymerkle, for every small size."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from services.custody import tree

MOST = 40


def content(i: int) -> bytes:
    return f"leaf {i}".encode()


@pytest.fixture(scope="module")
def stored() -> dict[tree.Place, bytes]:
    nodes: dict[tree.Place, bytes] = {}
    for i in range(MOST):
        edge = {place: nodes[place] for place in tree.edge_places(i)}
        nodes |= tree.append(i, edge, [tree.leaf_hash(content(i))])
    return nodes


@pytest.fixture(scope="module")
def oracle() -> InmemoryTree:
    other = InmemoryTree(algorithm="sha256")
    for i in range(MOST):
        other.append_entry(content(i))
    return other


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert tree.root(0, dict[tree.Place, bytes]().__getitem__) == hashlib.sha256(b"").digest()


@pytest.mark.parametrize("size", range(1, MOST + 1))
def test_roots_and_inclusion_proofs_agree_with_another_implementation(
    size: int, stored: dict[tree.Place, bytes], oracle: InmemoryTree
) -> None:
    root = tree.root(size, stored.__getitem__)
    assert root == oracle.get_root(size)
    for index in range(size):
        path = tree.proof(tree.inclusion_ranges(index, size), stored.__getitem__)
        leaf = tree.leaf_hash(content(index))
        assert tree.verify_inclusion(leaf, index, size, path, root)
        assert not tree.verify_inclusion(tree.leaf_hash(b"other"), index, size, path, root)
        if size > 1:
            assert not tree.verify_inclusion(leaf, index, size, path[:-1], root)
            assert not tree.verify_inclusion(leaf, (index + 1) % size, size, path, root)


@pytest.mark.parametrize("new", range(1, MOST + 1))
def test_consistency_proofs_hold_for_the_right_pair_of_roots_only(
    new: int, stored: dict[tree.Place, bytes]
) -> None:
    new_root = tree.root(new, stored.__getitem__)
    for old in range(1, new + 1):
        old_root = tree.root(old, stored.__getitem__)
        path = tree.proof(tree.consistency_ranges(old, new), stored.__getitem__)
        assert tree.verify_consistency(old, new, path, old_root, new_root)
        assert not tree.verify_consistency(old, new, path, b"\0" * 32, new_root)
        assert not tree.verify_consistency(old, new, path, old_root, b"\0" * 32)


@given(st.lists(st.integers(min_value=0, max_value=9), max_size=12))
def test_appending_in_batches_gives_the_same_tree_as_one_by_one(batches: list[int]) -> None:
    nodes: dict[tree.Place, bytes] = {}
    size = 0
    for batch in batches:
        hashes = [tree.leaf_hash(content(size + i)) for i in range(batch)]
        nodes |= tree.append(size, {p: nodes[p] for p in tree.edge_places(size)}, hashes)
        size += batch
    single: dict[tree.Place, bytes] = {}
    for i in range(size):
        edge = {place: single[place] for place in tree.edge_places(i)}
        single |= tree.append(i, edge, [tree.leaf_hash(content(i))])
    assert nodes == single


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_a_leaf_that_is_not_there_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no such leaf"):
        tree.inclusion_ranges(index, size)
    assert not tree.verify_inclusion(b"", index, size, [], b"")
