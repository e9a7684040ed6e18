"""The Merkle tree of the custody log (RFC 6962 §2.1; proofs verified as RFC 9162 §2.1 has it).

Pure: hashes in, hashes out. Only the hashes of complete subtrees are kept, as `(level, index)`:
level 0 are the leaves, node `(l, i)` covers leaves `i·2^l … (i+1)·2^l - 1`. The right edge is
computed when asked. Who may append, where nodes are stored and who signs a root is left to
`store.py` and `checkpoint.py`.
"""

import hashlib
from collections.abc import Callable, Sequence

Node = tuple[int, int, bytes]
Get = Callable[[int, int], bytes]
EMPTY_ROOT = hashlib.sha256(b"").digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def append(size: int, leaves: Sequence[bytes], get: Get) -> list[Node]:
    """Every complete node that appending `leaves` to a tree of `size` makes, lowest level first."""
    made: dict[tuple[int, int], bytes] = {}

    def at(level: int, index: int) -> bytes:
        found = made.get((level, index))
        return found if found is not None else get(level, index)

    for offset, leaf in enumerate(leaves):
        level, index = 0, size + offset
        made[level, index] = leaf
        while index % 2:
            made[level + 1, index // 2] = node_hash(at(level, index - 1), at(level, index))
            level, index = level + 1, index // 2
    return [(level, index, digest) for (level, index), digest in sorted(made.items())]


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << (size - 1).bit_length() - 1


def _subtree(start: int, size: int, get: Get) -> bytes:
    """Hash of the `size` leaves from `start`; `start` is a multiple of the power of two above."""
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return get(level, start >> level)
    half = _split(size)
    return node_hash(_subtree(start, half, get), _subtree(start + half, size - half, get))


def root(size: int, get: Get) -> bytes:
    """Root of the first `size` leaves."""
    return _subtree(0, size, get) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, get: Get) -> list[bytes]:
    """Audit path of leaf `index` in the tree of `size` (RFC 6962 §2.1.1), lowest first."""
    if not 0 <= index < size:
        raise ValueError("no such leaf in that tree")

    def path(index: int, start: int, size: int) -> list[bytes]:
        if size == 1:
            return []
        half = _split(size)
        if index < half:
            return [*path(index, start, half), _subtree(start + half, size - half, get)]
        return [*path(index - half, start + half, size - half), _subtree(start, half, get)]

    return path(index, 0, size)


def consistency_proof(old: int, size: int, get: Get) -> list[bytes]:
    """Proof that the tree of `size` extends the tree of `old` (RFC 6962 §2.1.2)."""
    if not 0 < old <= size:
        raise ValueError("no such older tree")

    def path(old: int, start: int, size: int, *, whole: bool) -> list[bytes]:
        if old == size:
            return [] if whole else [_subtree(start, size, get)]
        half = _split(size)
        if old <= half:
            left = path(old, start, half, whole=whole)
            return [*left, _subtree(start + half, size - half, get)]
        right = path(old - half, start + half, size - half, whole=False)
        return [*right, _subtree(start, half, get)]

    return path(old, 0, size, whole=True)


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes
) -> bool:
    """Whether the path leads from the leaf to the root (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last, digest = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node % 2 or node == last:
            digest = node_hash(sibling, digest)
            while not node % 2 and node:
                node, last = node >> 1, last >> 1
        else:
            digest = node_hash(digest, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and digest == expected_root


def verify_consistency(
    old: int, size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether the newer tree keeps everything of the older one (RFC 9162 §2.1.4.2)."""
    if not 0 < old <= size:
        return False
    if old == size:
        return not proof and old_root == new_root
    # 2. a power of two: the old root is the first node of the path
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    # 3.-4. drop the levels that both trees share
    node, last = old - 1, size - 1
    while node % 2:
        node, last = node >> 1, last >> 1
    # 5.-6. rebuild both roots
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node % 2 or node == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not node % 2 and node:
                node, last = node >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        node, last = node >> 1, last >> 1
    # 7. both must fit and the tree must be used up
    return last == 0 and first == old_root and second == new_root
