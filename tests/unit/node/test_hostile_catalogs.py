"""What a hostile or odd catalog may say: it harms its own offers only (design §8)."""

from __future__ import annotations

from tests.kit.rogue import HOUR_MS, K
from tests.kit.worlds import Listener, is_open, make_offer
from tests.unit.node.test_misdeeds import MAL, Scene

from intertie.amounts import INT64_MAX
from intertie.v1 import entry_pb2 as pb
from intertie.v1.catalog_pb2 import SearchRequest
from intertie_node.services.consumers import ConsumerDesk
from intertie_node.services.searching import search

SIXTEEN = {f"x-unit-{n:02}": (1, 1) for n in range(16)}


class Stall(Scene):
    """The hostile peer's offers, under a tariff of its choice."""

    def show(self, *offers: bytes, epoch: int = 1, **tariff: int) -> None:
        terms = {"markup_num": 1, "markup_den": 1, "expires_at": self.net.now + HOUR_MS, **tariff}
        seq = self.rogue.write(K.ENTRY_KIND_TARIFF, tariff=pb.Tariff(origin=MAL.fingerprint, **terms))  # type: ignore[arg-type]
        self.net.catalogs[MAL.fingerprint] = list(offers)
        self.rogue.say(advertisements=self.rogue.advertise(offers, seq, epoch))
        self.net.run()

    def listed(self) -> dict[str, int]:
        """Number of price lines of what a search shows."""
        found = search(self.node.world, SearchRequest(), self.net.now).offers
        return {item.ref: len(item.prices) for item in found}

    def asked(self, ref: str) -> Listener:
        listener = self.node.invoke(ref)
        self.net.run()
        return listener


def test_an_offer_whose_price_cannot_be_stated_disturbs_no_other() -> None:
    stall = Stall().opened()
    dear = make_offer(MAL.fingerprint, "dear", {"order": (INT64_MAX, 1)})
    many = make_offer(MAL.fingerprint, "many", SIXTEEN)
    fair = make_offer(MAL.fingerprint, "fair", {"order": (1, 1)})
    stall.show(dear, many, fair, markup_num=2, fee=5)
    others = {"north.example/echo": 2, "south.example/echo": 2, "mal.example/fair": 1}
    assert stall.listed() == {**others, "mal.example/dear": 0, "mal.example/many": 0}
    desk = ConsumerDesk(stall.node.grid, stall.node.store, stall.node.submit, HOUR_MS)
    assert not desk.offer("mal.example/dear").prices
    for ref in ("mal.example/dear", "mal.example/many"):
        assert stall.asked(ref).refused == "AMOUNT_OVERFLOW"
    assert stall.asked("mal.example/fair").refused == ""
    stall.check_calm()


def test_an_own_offer_that_a_tariff_makes_too_dear_is_rejected_as_changed() -> None:
    """The peer orders it nevertheless."""
    stall = Stall().opened()
    stall.node.link(MAL).ledger.tariffs[0].update(
        {
            seq: type(t)(t.origin, INT64_MAX, 1, 0, t.expires_at)
            for seq, t in stall.node.link(MAL).ledger.tariffs[0].items()
        }
    )
    seq = stall.rogue.buy(stall.offer)
    stall.net.run()
    assert stall.rogue.rejected() == {seq: "PRICE_CHANGED"}
    stall.check_calm()


def test_a_unit_name_without_end_is_not_learnt() -> None:
    """The order would not fit an entry: its peer would close the link at every resending."""
    stall = Stall().opened()
    longest = make_offer(MAL.fingerprint, "longest", {"x-" + "u" * 62: (1, 1)})
    stall.show(longest)
    assert stall.asked("mal.example/longest").refused == ""
    endless = make_offer(MAL.fingerprint, "endless", {f"x-{n}" + "u" * 5_000: (1, 1) for n in range(16)})
    stall.show(endless, epoch=2)
    assert stall.asked("mal.example/endless").refused == "OFFER_UNKNOWN"
    assert is_open(stall.node, MAL)
    stall.check_calm()


def test_an_order_larger_than_an_entry_is_refused_by_name() -> None:
    """Whatever makes it so large: here a path that 16 grids have grown."""
    stall = Stall().opened()
    stall.show(make_offer(MAL.fingerprint, "tool"))
    stall.node.world.own.grid = "x" * 66_000
    assert stall.asked("mal.example/tool").refused == "PAYLOAD_TOO_LARGE"
    assert stall.node.world.books.accounts["alice"].reserved == 0
