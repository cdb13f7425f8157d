"""What an own log takes."""

import pytest
from tests.unit.node.core.two_grids import START, K, World, order

from intertie_node.core.log import MAX_ENTRY_BYTES


def test_no_own_entry_is_longer_than_the_other_side_takes() -> None:
    side = World().sides[0]
    side.write(START, K.ENTRY_KIND_ORDER, order=order(START, 9, 9, session="s" * (MAX_ENTRY_BYTES - 500)))
    kept = (side.pair.logs[0].head, side.ledger.lanes[0].pending, len(side.rows.logs[0]))
    with pytest.raises(AssertionError, match="bytes"):
        side.write(START, K.ENTRY_KIND_ORDER, order=order(START, 9, 9, session="s" * MAX_ENTRY_BYTES))
    assert (side.pair.logs[0].head, side.ledger.lanes[0].pending, len(side.rows.logs[0])) == kept
