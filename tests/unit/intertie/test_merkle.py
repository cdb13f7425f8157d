"""Merkle trees: every path leads to the root, and no other leaf, place or size does (RFC 6962)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intertie import merkle
from intertie.errors import IntertieError

batches = st.lists(st.binary(max_size=8), min_size=1, max_size=70)


@given(batches)
def test_every_path_leads_to_the_root(leaves: list[bytes]) -> None:
    tree = merkle.tree(leaves)
    for index, leaf in enumerate(leaves):
        assert merkle.root_of(leaf, index, len(leaves), tree.path(index)) == tree.root


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=70, unique=True), st.data())
def test_a_path_proves_one_leaf_at_one_place(leaves: list[bytes], data: st.DataObject) -> None:
    tree, size = merkle.tree(leaves), len(leaves)
    index, other = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size + 3))
    try:
        found = merkle.root_of(leaves[index], other, size, tree.path(index))
    except IntertieError as error:
        assert error.reason == "CHARGE_UNPROVEN"
    else:
        assert (found == tree.root) is (other == index)


@given(st.binary(), st.integers(0, 2**64), st.integers(0, 2**64), st.lists(st.binary(max_size=40), max_size=70))
def test_only_named_errors_escape(leaf: bytes, index: int, size: int, path: list[bytes]) -> None:
    try:
        assert len(merkle.root_of(leaf, index, size, path)) == 32
    except IntertieError as error:
        assert error.reason == "CHARGE_UNPROVEN"


def test_the_largest_tree_has_a_path_of_64_nodes() -> None:
    assert len(merkle.root_of(b"", 2**64 - 1, 2**64, [bytes(32)] * 64)) == 32


def test_a_tree_hashes_every_node_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    node_hash = merkle.node_hash
    monkeypatch.setattr(merkle, "node_hash", lambda left, right: calls.append(1) or node_hash(left, right))
    tree = merkle.tree([b"%d" % number for number in range(1000)])
    for index in range(1000):
        tree.path(index)
    assert len(calls) == 999


def test_no_leaves_and_no_such_leaf() -> None:
    with pytest.raises(IntertieError, match="INVALID_ARGUMENT"):
        merkle.tree([])
    for index in (-1, 2):
        with pytest.raises(IndexError):
            merkle.tree([b"a", b"b"]).path(index)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_node_of_another_size_is_refused_before_hashing(size: int) -> None:
    with pytest.raises(IntertieError, match="bad shape"):
        merkle.root_of(b"leaf", 0, 2, [bytes(size)])


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=40), st.data())
def test_a_prover_agrees_with_the_plain_path_whatever_it_has_proven_before(
    leaves: list[bytes], data: st.DataObject
) -> None:
    tree, size = merkle.tree(leaves), len(leaves)
    prover = merkle.Prover(tree.root, size)
    for _ in range(data.draw(st.integers(1, 12))):
        index = data.draw(st.integers(0, size - 1))
        leaf, path = leaves[index], tree.path(index)
        if path and data.draw(st.booleans()):
            place = data.draw(st.integers(0, len(path) - 1))
            path[place] = bytes([path[place][0] ^ 1]) + path[place][1:]
        if data.draw(st.booleans()):
            leaf = data.draw(st.binary(max_size=4))
        assert prover.proves(leaf, index, path) is (merkle.root_of(leaf, index, size, path) == tree.root)
