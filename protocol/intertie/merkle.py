"""RFC 6962 Merkle trees over execution records (design §9).

A leaf's hash is SHA-256(0x00 ‖ leaf), a node's SHA-256(0x01 ‖ left ‖ right); the left subtree of n leaves
has the largest power of two below n. All hashes have 32 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from intertie.errors import IntertieError

HASH_SIZE: Final = 32
MAX_PATH: Final = 64
_HASH_SIZES: Final = {HASH_SIZE}


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf's exact bytes."""
    return sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node, from those of its children."""
    return sha256(b"\1" + left + right).digest()


class Tree:
    """A tree over one or more leaves. Every node is hashed once, so all paths together cost one pass."""

    __slots__ = ("_levels", "root", "size")

    def __init__(self, leaves: Sequence[bytes]) -> None:
        if not leaves:
            raise IntertieError("INVALID_ARGUMENT", "A Merkle tree needs a leaf.", field="leaves")
        level = [leaf_hash(leaf) for leaf in leaves]
        self._levels = [level]
        while len(level) > 1:
            level = _parents(level)
            self._levels.append(level)
        self.root: bytes = level[0]
        self.size: int = len(leaves)

    def path(self, index: int) -> list[bytes]:
        """Return the sibling hashes from leaf `index` to the root; IndexError if there is no such leaf."""
        if not 0 <= index < self.size:
            raise IndexError(f"no leaf {index} in a tree of {self.size}")
        return self.paths()[index]

    def paths(self) -> list[list[bytes]]:
        """Return the sibling hashes from every leaf to the root, in order."""
        paths: list[list[bytes]] = [[]]
        for level in reversed(self._levels[:-1]):
            paths = [[*level[place ^ 1 : (place ^ 1) + 1], *paths[place >> 1]] for place in range(len(level))]
        return paths


def tree(leaves: Sequence[bytes]) -> Tree:
    """Return the tree over `leaves`, in order; raise INVALID_ARGUMENT if there are none."""
    return Tree(leaves)


def root_of(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root of the tree of `size` leaves that holds `leaf` at `index`, from its sibling hashes.

    Proves nothing before it is compared with a signed root of the same size. Raises CHARGE_UNPROVEN if the
    path has not exactly the length and hash sizes that index and size demand.
    """
    if not 0 <= index < size or len(path) > MAX_PATH or any(len(node) != HASH_SIZE for node in path):
        raise IntertieError("CHARGE_UNPROVEN", "An inclusion path has a bad shape.", field="path")
    position, last, root, rest = index, size - 1, leaf_hash(leaf), iter(path)
    try:
        while last:
            if position & 1:
                root = node_hash(next(rest), root)
            elif position < last:
                root = node_hash(root, next(rest))
            position, last = position >> 1, last >> 1
    except StopIteration:
        raise IntertieError("CHARGE_UNPROVEN", "An inclusion path is too short.", field="path") from None
    if next(rest, None) is not None:
        raise IntertieError("CHARGE_UNPROVEN", "An inclusion path is too long.", field="path")
    return root


class Prover:
    """A signed root under which many leaves are proven: a node once proven is not hashed again."""

    __slots__ = ("_proven", "_size")

    def __init__(self, root: bytes, size: int) -> None:
        self._size = size
        self._proven: dict[tuple[int, int], tuple[bytes, list[bytes]]] = {
            (max(0, size - 1).bit_length(), 0): (root, [])
        }
        """(level, position) → a node on, or beside, a proven path, and the path from there."""

    def proves(self, leaf: bytes, index: int, path: Sequence[bytes]) -> bool:
        """Return whether `path` leads from `leaf` at `index` to the root. Raises CHARGE_UNPROVEN as `root_of`."""
        rest = list(path[:])  # a repeated field is slow to iterate over
        if index >= self._size or len(rest) != self._length(index) or set(map(len, rest)) - _HASH_SIZES:
            raise IntertieError("CHARGE_UNPROVEN", "An inclusion path has a bad shape.", field="path")
        seen: dict[tuple[int, int], tuple[bytes, list[bytes]]] = {}
        node, level, position, last = leaf_hash(leaf), 0, index, self._size - 1
        while self._proven.get((level, position)) != (node, rest):
            if not last:
                return False
            seen[level, position] = node, rest
            if position & 1 or position < last:
                sibling, *above = rest
                seen[level, position ^ 1] = sibling, [node, *above]
                node = node_hash(sibling, node) if position & 1 else node_hash(node, sibling)
                rest = above
            level, position, last = level + 1, position >> 1, last >> 1
        self._proven.update(seen)
        return True

    def _length(self, index: int) -> int:
        """Length of the path from a leaf: one node a level up to where it meets the last leaf's, then the left ones."""
        below = (index ^ self._size - 1).bit_length()
        return below + (index >> below).bit_count()


def _parents(level: Sequence[bytes]) -> list[bytes]:
    """Return the next level up; a last node without sibling rises unchanged."""
    parents = [node_hash(left, right) for left, right in zip(level[::2], level[1::2], strict=False)]
    return [*parents, level[-1]] if len(level) & 1 else parents
