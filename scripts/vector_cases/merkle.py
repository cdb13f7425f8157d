"""RFC 6962 Merkle trees: roots, every inclusion path, and proofs that must not lead to the root."""

from __future__ import annotations

from intertie import merkle
from vector_cases.common import Case, hostile, valid

SIZES = (1, 2, 3, 4, 5, 7, 8, 13)


def cases() -> list[Case]:
    """Return every case of the area."""
    return [*(_tree(size) for size in SIZES), *_bad()]


def _leaves(size: int) -> list[bytes]:
    return [b"leaf %d" % number for number in range(size)]


def _tree(size: int) -> Case:
    tree = merkle.tree(leaves := _leaves(size))
    paths = [[node.hex() for node in tree.path(index)] for index in range(size)]
    given = {"leaves": [leaf.hex() for leaf in leaves]}
    return valid(f"tree-{size}", f"{size} leaves.", "tree", given, {"root": tree.root.hex(), "paths": paths})


def _bad() -> list[Case]:
    tree, leaves = merkle.tree(_leaves(7)), _leaves(7)
    path, root = tree.path(2), tree.root
    left, right = merkle.leaf_hash(leaves[0]), merkle.leaf_hash(leaves[1])
    claimed = "A record that the executor never signed is charged."
    moved = "One record is charged at two places of the batch."
    rows: list[tuple[str, str, bytes, int, int, list[bytes], str]] = [
        ("leaf", "Another leaf.", b"other", 2, 7, path, claimed),
        ("index", "Another index.", leaves[2], 3, 7, path, moved),
        ("beyond", "An index beyond the size.", leaves[2], 7, 7, path, moved),
        ("size", "A size that needs a shorter path.", leaves[2], 2, 3, path, moved),
        ("size-zero", "No leaves.", leaves[2], 0, 0, [], claimed),
        ("short", "A node is missing.", leaves[2], 2, 7, path[:-1], claimed),
        ("long", "A node too many.", leaves[2], 2, 7, [*path, root], claimed),
        ("node-size", "A node of 31 bytes.", leaves[2], 2, 7, [path[0][:31], *path[1:]], claimed),
        ("joined", "Node boundaries moved.", leaves[2], 2, 7, [path[0] + path[1], path[2]], claimed),
        ("swapped", "Nodes in another order.", leaves[2], 2, 7, [path[1], path[0], path[2]], claimed),
        ("inner-as-leaf", "An inner node given as a leaf.", left + right, 0, 4, tree.path(0)[1:], claimed),
        ("empty", "No path in a tree of many.", leaves[2], 2, 7, [], claimed),
        (
            "endless",
            "Sixty-five nodes.",
            leaves[2],
            2,
            7,
            [root] * 65,
            "One proof costs any amount of hashing.",
        ),
    ]
    return [
        hostile(f"proof-{name}", text, "proof", _proof(leaf, index, size, nodes, root), "CHARGE_UNPROVEN", attack)
        for name, text, leaf, index, size, nodes, attack in rows
    ]


def _proof(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> Case:
    numbers = {"index": str(index), "size": str(size)}
    return {"leaf": leaf.hex(), **numbers, "path": [node.hex() for node in path], "root": root.hex()}
