"""Names of callers: opaque to the next grid, the same after a restore, resolvable at home alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.kit.line import ECHO, Line

from intertie.v1 import entry_pb2 as pb
from intertie_node.core.blinding import account_of, blinded, upstream_caller
from intertie_node.core.ledger import ME

HERE, ELSEWHERE = b"h" * 32, b"e" * 32
NAME = bytes(range(32)).hex()


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**63 - 1))
def test_an_upstream_order_is_found_again_at_home_only(genesis: bytes, seq: int) -> None:
    caller = f"link:{genesis.hex()}:{seq}"
    account = blinded(HERE, caller)
    assert upstream_caller(HERE, account) == caller
    assert upstream_caller(ELSEWHERE, account) == ""
    assert genesis.hex() not in account


def test_orders_of_one_upstream_cannot_be_told_to_be() -> None:
    one, two = (blinded(HERE, f"link:{NAME}:{seq}") for seq in (1, 2))
    assert not any(one[at : at + 8] == two[at : at + 8] for at in range(0, len(one), 8))
    assert one == blinded(HERE, f"link:{NAME}:1")


@given(st.text(max_size=200) | st.binary(max_size=99).map(bytes.hex))
def test_what_is_not_of_this_grid_s_making_names_nobody(account: str) -> None:
    assert upstream_caller(HERE, account) == ""


def test_a_relay_shows_nobody_its_upstream() -> None:
    line = Line()
    listener = line.north.invoke(ECHO)
    line.hub.open_account("alice", 10**6)
    line.net.run()
    own = line.hub.invoke(ECHO)
    line.net.run()
    assert listener.outcome is not None and own.outcome is not None
    upstream, log = line.hub.link(line.north), (line.hub.link(line.south).name, ME)
    written = [row[3] for row in line.hub.store.all_rows("entries") if row[:2] == log]
    orders = [pb.Entry.FromString(data).order for data in written if pb.Entry.FromString(data).HasField("order")]
    assert len(orders) == 2
    secret = line.hub.world.secret
    callers = sorted(upstream_caller(secret, order.account) for order in orders)
    assert callers[0] == ""
    assert callers[1].startswith(f"link:{upstream.name}:")
    assert sorted(account_of(line.hub.world, order.account) for order in orders) == ["", "alice"]
    assert not any(upstream.name.encode() in data or b"link:" in data for data in written)
