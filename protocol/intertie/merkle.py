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
        found = []
        for level in self._levels[:-1]:
            if (sibling := index ^ 1) < len(level):
                found.append(level[sibling])
            index >>= 1
        return found


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

    __slots__ = ("_known", "_root", "_size")

    def __init__(self, root: bytes, size: int) -> None:
        self._root = root
        self._size = size
        self._known: dict[tuple[int, int], bytes] = {}
        """(level, position) → node on, or beside, a proven path."""

    def proves(self, leaf: bytes, index: int, path: Sequence[bytes]) -> bool:
        """Return whether `path` leads from `leaf` at `index` to the root. Raises CHARGE_UNPROVEN as `root_of`."""
        if index >= self._size or len(path) != self._height(index) or set(map(len, path)) - _HASH_SIZES:
            raise IntertieError("CHARGE_UNPROVEN", "An inclusion path has a bad shape.", field="path")
        known, seen, step = self._known, {}, 0
        node: bytes | None = leaf_hash(leaf)
        level, position, last = 0, index, self._size - 1
        while last:
            if node is not None and known.get((level, position)) == node:
                node = None  # proven from here on: the rest of the path is only compared
            paired = position & 1 or position < last
            if paired and node is None and known[level, position ^ 1] != path[step]:
                return False
            if node is not None:
                seen[level, position] = node
            if paired and node is not None:
                sibling = seen[level, position ^ 1] = path[step]
                node = node_hash(sibling, node) if position & 1 else node_hash(node, sibling)
            step += 1 if paired else 0
            level, position, last = level + 1, position >> 1, last >> 1
        if node is not None and node != self._root:
            return False
        known.update(seen)
        return True

    def _height(self, index: int) -> int:
        position, last, height = index, self._size - 1, 0
        while last:
            height += bool(position & 1 or position < last)
            position, last = position >> 1, last >> 1
        return height


def _parents(level: Sequence[bytes]) -> list[bytes]:
    """Return the next level up; a last node without sibling rises unchanged."""
    parents = [node_hash(left, right) for left, right in zip(level[::2], level[1::2], strict=False)]
    return [*parents, level[-1]] if len(level) & 1 else parents
