"""What a hostile or odd catalog may say: it harms its own offers only (design §8)."""

from __future__ import annotations

from tests.kit.identities import make_offer
from tests.kit.rogue import HOUR_MS, K
from tests.kit.sim_node import Listener, is_open
from tests.unit.node.test_misdeeds import MAL, Scene

from intertie.amounts import INT64_MAX
from intertie.v1 import entry_pb2 as pb
from intertie.v1.catalog_pb2 import SearchRequest
from intertie_node.core.effects import Effects
from intertie_node.core.ledger import ME
from intertie_node.core.placing import ways
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


def rooted(stall: Stall, epoch: int, **root: int) -> str:
    """Advertise a root with these fields; returns why the route was refused, "" if it was taken."""
    offers = [make_offer(MAL.fingerprint, "tool")]
    stall.net.catalogs[MAL.fingerprint] = offers
    link, catalog = stall.node.link(MAL), stall.node.world.catalog
    catalog.refused.pop(link.name, None)
    items = stall.rogue.advertise(offers, epoch=epoch, root=stall.rogue.root(offers, **root))
    stall.rogue.say(advertisements=items)
    stall.net.run()
    assert ((link.name, MAL.fingerprint) in catalog.routes) == (link.name not in catalog.refused)
    return catalog.refused.get(link.name, "").partition(":")[0]


def test_an_older_root_is_not_taken_again_also_after_a_restart() -> None:
    stall = Stall().opened()
    assert [rooted(stall, n, version=v) for n, v in enumerate((5, 5, 6), 1)] == ["", "", ""]
    assert rooted(stall, 4, version=5) == "INVALID_ARGUMENT"
    assert rooted(stall, 5, version=6) == ""
    stall.node.boot()
    stall.net.run()
    stall.net.dial(stall.rogue, stall.node)
    stall.rogue.open()
    stall.net.run()
    assert rooted(stall, 1, version=5) == "INVALID_ARGUMENT"
    assert rooted(stall, 2, version=6) == ""
    assert is_open(stall.node, MAL)


def test_a_root_has_expired_at_its_last_millisecond_wherever_it_is_looked_at() -> None:
    stall = Stall().opened()
    expires = stall.net.now + 5_000
    assert rooted(stall, 1, expires_at=expires) == ""
    offer = stall.node.world.catalog.find("mal.example/tool")
    assert [bool(ways(stall.node.world, offer, at)) for at in (expires - 1, expires)] == [True, False]
    stall.net.now = expires - 1
    assert rooted(stall, 2, expires_at=expires) == ""
    stall.net.now = expires
    assert rooted(stall, 3, expires_at=expires) == "INVALID_ARGUMENT"


def test_own_roots_have_rising_versions_also_when_the_clock_was_set_back() -> None:
    stall = Stall().opened()
    told, south = stall.south.grid._told, stall.south

    def renewed() -> int:
        told.renew(south.world, Effects(stall.net.now))
        return south.world.catalog.root_versions[south.fingerprint]

    first, second = renewed(), renewed()
    assert first < second
    link = south.link(stall.node)
    link.pair.logs[ME].at = stall.net.now + 60_000
    assert renewed() >= stall.net.now + 60_000
