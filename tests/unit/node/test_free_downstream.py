"""Work whose price down the line is a fee alone: markup 0 is passed on like any other (design §9, relay)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kit.identities import make_offer
from tests.kit.rogue import HOUR_MS, K
from tests.unit.node.test_hostile_relays import Between
from tests.unit.node.test_misdeeds import MAL

from intertie.amounts import apply_tariff, charge
from intertie.errors import IntertieError
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import task_pb2 as ts
from intertie_node.core.ledger import TariffTerms
from intertie_node.core.placing import relay_rate

PRICES = (("llm.output.token", 3, 7), ("order", 10, 1))


def test_a_relay_passes_on_what_costs_only_a_fee() -> None:
    scene = Between()
    data = make_offer(MAL.fingerprint, "tool")
    scene.net.catalogs[MAL.fingerprint] = [data]
    terms = {"markup_num": 0, "markup_den": 1, "fee": 7, "expires_at": scene.net.now + HOUR_MS}
    seq = scene.rogue.write(K.ENTRY_KIND_TARIFF, tariff=pb.Tariff(origin=MAL.fingerprint, **terms))  # type: ignore[arg-type]
    scene.rogue.say(advertisements=scene.rogue.advertise([data], seq))
    scene.net.wait(1_000)
    listener = scene.north.invoke("mal.example/tool")
    scene.net.run()
    order = scene.rogue.entries(K.ENTRY_KIND_ORDER)[-1]
    assert order.entry.order.max_charge == 1_000 - 100 - 2
    usage = {"order": 1, "llm.output.token": 500}
    scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=scene.rogue.claim(order.seq, usage))
    scene.rogue.say(events=[scene.rogue.result(order.seq)])
    scene.net.run()
    assert listener.outcome is not None
    assert listener.outcome.state == ts.TASK_STATE_COMPLETED
    assert listener.outcome.receipt.charge == 107
    scene.check_calm()


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 1_000), st.integers(0, 1), st.integers(0, 10**6))
def test_what_fits_downstream_fits_upstream(fee: int, own: int, limit: int, orders: int, tokens: int) -> None:
    """Never a loss, and never beyond what was granted upstream."""
    up, down = TariffTerms(b"", 0, 1, fee + own, 1), TariffTerms(b"", 0, 1, fee, 1)
    rate = relay_rate(up, down, len(PRICES))
    paid, earned = (
        charge([line[1:] for line in apply_tariff(PRICES, 0, 1, terms.fee)], [tokens, orders]) for terms in (down, up)
    )
    assert earned >= paid
    if paid <= rate.down(limit) and rate.down(limit):
        assert earned <= limit
    assert earned <= rate.up(paid)


def test_a_fee_that_is_not_covered_is_refused() -> None:
    with pytest.raises(IntertieError, match="PRICE_CHANGED"):
        relay_rate(TariffTerms(b"", 0, 1, 6, 1), TariffTerms(b"", 0, 1, 7, 1), 1)
