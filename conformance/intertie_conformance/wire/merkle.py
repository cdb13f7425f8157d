"""RFC 6962 Merkle trees over execution records."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\0" + leaf).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def root(leaves: Sequence[bytes]) -> bytes:
    """The root of the tree over one or more leaves."""
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    half = _split(len(leaves))
    return _node(root(leaves[:half]), root(leaves[half:]))


def path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Sibling hashes of leaf `index`, from leaf to root."""
    if len(leaves) == 1:
        return []
    half = _split(len(leaves))
    if index < half:
        return [*path(leaves[:half], index), root(leaves[half:])]
    return [*path(leaves[half:], index - half), root(leaves[:half])]


def root_by(leaf: bytes, index: int, size: int, siblings: Sequence[bytes]) -> bytes:
    """The root to which `siblings` lead. Raises: ValueError for a path of the wrong length."""
    if not 0 <= index < size:
        raise ValueError("no such leaf")
    return _climb(leaf_hash(leaf), index, size, list(siblings))


def _climb(node: bytes, index: int, size: int, siblings: list[bytes]) -> bytes:
    if size == 1:
        if siblings:
            raise ValueError("the path is too long")
        return node
    if not siblings:
        raise ValueError("the path is too short")
    half, top = _split(size), siblings.pop()
    if index < half:
        return _node(_climb(node, index, half, siblings), top)
    return _node(top, _climb(node, index - half, size - half, siblings))
