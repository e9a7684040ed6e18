"""The Merkle tree of RFC 6962: hashes of complete subtrees, roots, proofs and their verification.

Pure. It guards that what is stored (complete subtrees only) is enough to append, to prove and to
sign; verification needs nothing but hashes, so it can be repeated by anybody. Where hashes are kept
is the store's business: `Nodes` answers (level, number) → hash.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
Place = tuple[int, int]
"""(level, number): the complete subtree of 2^level leaves that begins at number · 2^level."""
Nodes = Callable[[Place], bytes]


def leaf_hash(content: bytes) -> bytes:
    """Hash of a leaf's content."""
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def append(size: int, edge: Mapping[Place, bytes], hashes: Sequence[bytes]) -> dict[Place, bytes]:
    """New complete subtrees after appending leaf hashes to a tree of `size`.

    `edge` holds the subtrees of `edge_places(size)`.
    """
    known, made = dict(edge), {}
    for position, content in enumerate(hashes, start=size):
        level, number, value = 0, position, content
        known[0, number] = made[0, number] = value
        while number % 2:
            value = node_hash(known[level, number - 1], value)
            level, number = level + 1, number // 2
            known[level, number] = made[level, number] = value
    return made


def edge_places(size: int) -> list[Place]:
    """The complete subtrees whose hashes make up the root of a tree of `size`, left to right."""
    return list(cover(0, size))


def cover(start: int, end: int) -> Iterator[Place]:
    """The largest complete subtrees from `start` (aligned) to `end`."""
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def root(size: int, nodes: Nodes) -> bytes:
    """Root of the first `size` leaves."""
    return subtree(0, size, nodes) if size else EMPTY_ROOT


def subtree(start: int, end: int, nodes: Nodes) -> bytes:
    """Hash over the leaves from `start` (aligned for that length) to `end`."""
    hashes = [nodes(place) for place in cover(start, end)]
    value = hashes.pop()
    while hashes:
        value = node_hash(hashes.pop(), value)
    return value


def _split(length: int) -> int:
    """Largest power of two below `length`."""
    return 1 << ((length - 1).bit_length() - 1)


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """Leaf ranges whose hashes prove that leaf `index` is in the tree of `size`, in proof order."""
    if not 0 <= index < size:
        raise ValueError("no such leaf in this tree")
    ranges: list[tuple[int, int]] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[tuple[int, int]]:
    """Leaf ranges whose hashes prove that the tree of `old` begins the tree of `new`."""
    if not 0 < old <= new:
        raise ValueError("sizes out of order")
    ranges: list[tuple[int, int]] = []
    start, end, whole = 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start, whole = middle, False
    if not whole:
        ranges.append((start, end))
    return ranges[::-1]


def proof(ranges: Sequence[tuple[int, int]], nodes: Nodes) -> list[bytes]:
    """Hashes of these ranges."""
    return [subtree(start, end, nodes) for start, end in ranges]


def verify_inclusion(
    leaf: bytes, index: int, size: int, path: Sequence[bytes], expected_root: bytes
) -> bool:
    """Whether leaf hash `leaf` stands at `index` of the tree with this root (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, value = index, size - 1, leaf
    for hash_ in path:
        if last == 0:
            return False
        if place % 2 or place == last:
            value = node_hash(hash_, value)
            while place % 2 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            value = node_hash(value, hash_)
        place, last = place >> 1, last >> 1
    return last == 0 and value == expected_root


def verify_consistency(
    old: int, new: int, path: Sequence[bytes], old_root: bytes, new_root: bytes
) -> bool:
    """Whether the tree of `old` leaves is the beginning of that of `new` (RFC 9162 §2.1.4.2)."""
    if old == new:
        return old_root == new_root and not path
    if not 0 < old < new or not path:
        return False
    hashes = [old_root, *path] if old & (old - 1) == 0 else list(path)
    place, last = old - 1, new - 1
    while place % 2:
        place, last = place >> 1, last >> 1
    first = second = hashes[0]
    for hash_ in hashes[1:]:
        if last == 0:
            return False
        if place % 2 or place == last:
            first, second = node_hash(hash_, first), node_hash(hash_, second)
            while place % 2 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            second = node_hash(second, hash_)
        place, last = place >> 1, last >> 1
    return first == old_root and second == new_root and last == 0
