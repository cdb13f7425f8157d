"""Hostile grids: a link's other side that keeps its own logs and lies in them, for money or for harm.

Each has a few habits (see `plan.HABITS`) and otherwise deals honestly, so that there is something to steal. It
advertises an offer, serves what is ordered, buys what its neighbours sell; a habit bends one of these. What it
says is real: signed by its key, in its chain, or spoiled after that (`tests.kit.rogue`, `tests.kit.misdeeds`).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tests.kit.identities import START, Identity, limits, make_offer
from tests.kit.rogue import HOUR_MS, K, Rogue
from tests.simulation.habits import INITIATIVE, SERVICE, asking
from tests.simulation.plan import GridPlan
from tests.simulation.runs import PRICES, script
from tests.simulation.wire import End

from intertie.descriptors import verify_history
from intertie.digests import multihash
from intertie.errors import IntertieError
from intertie.keys import PublicKey
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.catalog_pb2 import Advertisement
from intertie_node.core.catalog import KnownOffer
from intertie_node.core.ledger import THEM
from intertie_node.core.pair import Fact

OFFERS = tuple(PRICES)
LULL = 20
"""So many times longer hostile grids rest while the world does."""
NAMELESS = 9
"""One of so many orders has an id that is none."""


def keys_of(identity: Identity) -> dict[bytes, PublicKey]:
    """Every key that a grid has ever signed with."""
    return {each.key.key_id: each.key for each in verify_history(identity.chain).signing_keys}


class Face(Rogue):
    """What a hostile grid is on one link."""

    grid_of: HostileGrid
    end: End | None = None
    told: list[bytes]
    heard_groups: list[tuple[int, list[bytes], lk.HeadSignature]]
    advertised = False
    priced = (0, 0)
    """(seq of the own tariff, until when it is good)."""
    blind_at: int | None = None
    """Seq of the neighbour's log from which on nothing is acknowledged any more."""

    def _take(self, frame: lk.Frame) -> None:
        before = len(self.facts)
        answers, self.answers = self.answers, False
        try:
            super()._take(frame)
        finally:
            self.answers = answers
        fresh = self.facts[before:]
        self.grid_of.noticed(self, fresh)
        if frame.entries and answers and self.opened:
            self.say()

    def hear(self, data: bytes) -> None:
        """Take a frame, and keep what a restored neighbour will want back."""
        frame = lk.Frame.FromString(data)
        if frame.HasField("signature"):
            self.heard_groups.append((frame.first_seq, list(frame.entries), frame.signature))
        super().hear(data)

    def _their_open(self, sealed: bytes) -> None:
        """Say what the neighbour lacks of both logs, interleaved as they grew."""
        own, self.groups = self.groups, []
        try:
            super()._their_open(sealed)
        finally:
            self.groups = own
        if self.their_open is None or not self.opened:
            return
        at, theirs = self.their_open.other.seq, self.their_open.own.seq
        if self.heard_groups:
            self.send(lk.Frame(returned_signature=self.heard_groups[-1][2]).SerializeToString())
        mine = [group for group in own if group[2].seq > at]
        back = [group for group in self.heard_groups if group[1] and group[2].seq > theirs]
        while mine or back:
            if mine and (mine[0][2].acked <= theirs or not back):
                first, entries, signature = mine.pop(0)
                at = signature.seq
                self.send(lk.Frame(first_seq=first, entries=entries, signature=signature).SerializeToString())
            elif back[0][2].acked <= at or not mine:
                first, entries, signature = back.pop(0)
                theirs = signature.seq
                frame = lk.Frame(first_returned=first, returned=entries, returned_signature=signature)
                self.send(frame.SerializeToString())
            else:
                return

    def write(self, kind: int, *, seen: int | None = None, at: int | None = None, **body: Any) -> int:
        """Append an entry; one who withholds has seen nothing since a moment."""
        return super().write(kind, seen=self.blind_at if seen is None else seen, at=at, **body)

    def signature(self, **changes: Any) -> lk.HeadSignature:
        """Sign; one who withholds acknowledges nothing since a moment."""
        if self.blind_at is not None:
            self.pair.unhandled = self.pair.logs[THEM].seq - self.blind_at
        return super().signature(**changes)

    def spoken(self, frame: bytes) -> None:
        """Send, and keep a copy for replaying."""
        if self.end is not None:
            self.told.append(frame)
            del self.told[:-40]
            self.end.send(frame)


class HostileGrid:
    """One hostile grid."""

    alive, frozen, life, reading_ms = True, False, 0, 0

    def __init__(self, sim: Any, index: int, plan: GridPlan) -> None:
        self.sim = sim
        self.index = index
        self.habits = plan.habits
        self.identity = Identity(f"h{index:02}.example")
        self.fingerprint = self.identity.fingerprint
        self.rng = Random(f"hostile {sim.plan.seed} {index}")
        self._offers = [make_offer(self.fingerprint, name, PRICES[name]) for name in OFFERS]
        self._peers: list[tuple[int, Any]] = []
        self._faces: dict[int, Face] = {}
        """By peering."""
        self._orders: list[tuple[Face, int]] = []
        self.deeds = 0
        """Hostile acts until now."""
        self._bought = 0

    def offers(self) -> list[bytes]:
        """What it serves to those who fetch."""
        return self._offers

    def digests(self) -> list[bytes]:
        """Digests of its offers."""
        return [multihash(data) for data in self._offers]

    def peered(self, number: int, node: Any) -> None:
        """An honest grid has an agreement with this one."""
        self._peers.append((number, node))

    def now(self) -> int:
        """True time."""
        return int(START + self.sim.now)

    # -- streams ----------------------------------------------------------------------------------

    def answered(self, end: End) -> None:
        """A neighbour has dialled."""
        number = end.stream.link
        face = self._faces.get(number)
        if face is None:
            face = self._faces[number] = self._face(number, end.other.owner)
            self._act_later(face)
        if face.end is not None:
            return
        face.end = end
        face.connected(face.spoken, dialled=False)

    def _face(self, number: int, node: Any) -> Face:
        plain = self.sim.rogue(node, self.identity)
        face = Face.__new__(Face)
        face.__dict__.update(plain.__dict__)
        own = self.identity.key.public
        face.pair.keys = lambda side: {own.key_id: own} if side == 0 else keys_of(node.identity)
        face.now, face.limits = self.now, limits()
        face.grid_of, face.told, face.heard_groups, face.relax = self, [], [], True
        face.answers = "withhold" not in self.habits
        face.mute = False
        return face

    def hear(self, end: End, frame: bytes) -> None:
        """A frame of a neighbour."""
        face = self._faces.get(end.stream.link)
        if face is not None and face.end is end:
            try:
                face.hear(frame)
                if face.opened and not face.advertised:
                    self._advertise(face)
            except (IntertieError, AssertionError, KeyError, ValueError):
                face.relax = True
        end.taken()

    def stream_lost(self, end: End) -> None:
        """A stream has gone."""
        face = self._faces.get(end.stream.link)
        if face is not None and face.end is end:
            face.end, face.advertised = None, False

    # -- dealing ----------------------------------------------------------------------------------

    def _advertise(self, face: Face) -> None:
        face.advertised = True
        seq, until = face.priced
        items = face.advertise(self._offers, tariff_seq=seq if self.now() < until else 0)
        if self.now() >= until:
            face.priced = items[0].route.tariff_seq, self.now() + HOUR_MS // 2
        if "hijack" in self.habits:
            items[1:1] = self._hijacked(face)
        face.say(advertisements=items)

    def _hijacked(self, face: Face) -> list[Advertisement]:
        """Routes under the names of others: another key, and a path that it is not on."""
        self.deeds += 1
        victim = self.rng.choice(self.sim.nodes)
        twin = Identity(victim.identity.grid)
        twin.root, twin.key = self.identity.root, self.identity.key
        stolen = face.advertise(self._offers, tariff_seq=1, path_names=[victim.identity.grid])[:1]
        forged = face.advertise(self._offers, tariff_seq=1, path=[self.fingerprint, victim.fingerprint])[:1]
        forged[0].route.ClearField("descriptors")
        forged[0].route.descriptors.extend(victim.identity.chain)
        return [*stolen, *forged]

    def noticed(self, face: Face, facts: list[Fact]) -> None:
        """A neighbour has written entries."""
        for fact in facts:
            if fact.void is None and fact.entry.kind == K.ENTRY_KIND_ORDER:
                self.later(face, self._delay(fact.entry.order), lambda seq=fact.seq: self._serve(face, seq))
            elif fact.entry.kind == K.ENTRY_KIND_CHARGE and "refuse_all" in self.habits:
                self.deeds += 1
                body = pb.Refuse(entry_seq=fact.seq, rule="RECORD_MISMATCH")
                face.write(K.ENTRY_KIND_REFUSE, refuse=body)

    def _delay(self, order: pb.Order) -> float:
        if "charge_late" in self.habits and self.rng.random() < 0.6:
            return order.deadline - self.now() + self.rng.choice((-20, 500, 1_500, 4_000, 12_000))
        return float(self.rng.choice((3, 40, 300)))

    def later(self, face: Face, ms: float, act: Callable[[], None]) -> None:
        """Do something after a time, if the link is open then."""

        def deed() -> None:
            if face.end is not None and face.opened:
                try:
                    act()
                except (IntertieError, AssertionError, KeyError, ValueError, IndexError):
                    face.relax = True

        self.sim.after(max(0.5, ms), deed)

    def _serve(self, face: Face, seq: int) -> None:
        """Answer an order: honestly, or as the habits say."""
        hold = face.ledger.holds.get((THEM, seq))
        if hold is None or "silence" in self.habits:
            return
        bent = [habit for habit in self.habits if habit in SERVICE] if self.rng.random() < 0.7 else []
        if "refuse_all" in self.habits:
            self._refuse(face, seq)
        elif bent:
            self.deeds += 1
            SERVICE[self.rng.choice(bent)](self, face, seq)
        else:
            usage = {"order": 1}
            face.write(K.ENTRY_KIND_CHARGE, charge=face.claim(seq, usage))
            face.say(events=[face.result(seq)])

    def _refuse(self, face: Face, seq: int) -> None:
        """Reject an order, and ask for input before, with it or not at all."""
        asks = self.rng.choice(("", "before", "with"))
        if asks == "before":
            face.say(events=[asking(seq)])
        face.write(K.ENTRY_KIND_REJECT, reject=pb.Reject(order_seq=seq))
        face.say(events=[asking(seq)] if asks == "with" else [])

    # -- own initiative ---------------------------------------------------------------------------

    def _act_later(self, face: Face) -> None:
        def act() -> None:
            if not self.sim.over:
                self.later(face, 1, lambda: self._act(face))
                self._act_later(face)

        self.sim.after(self.rng.choice((120, 400, 900)) * (LULL if self.sim.lull else 1), act)

    def _act(self, face: Face) -> None:
        bent = [habit for habit in self.habits if habit in INITIATIVE]
        if bent and self.rng.random() < 0.4:
            self.deeds += 1
            INITIATIVE[self.rng.choice(bent)](self, face)
        elif self.rng.random() < 0.4:
            self.buy(face)

    def known(self, face: Face) -> KnownOffer:
        """An offer of some grid whose advertisement has come over the link."""
        origins = [node for node in self.sim.nodes if node.fingerprint in face.routes]
        return self.rng.choice(origins).own_offer(self.rng.choice(OFFERS))

    def neighbour(self, face: Face) -> Any:
        """The grid at the other end."""
        return next(node for number, node in self._peers if self._faces.get(number) is face)

    def buy(self, face: Face, offer: KnownOffer | None = None, end: str = "", tokens: int = 0, **changes: Any) -> int:
        """Order something, honestly but for the changes; returns its seq."""
        offer = offer or self.known(face)
        said = {
            "number": 0, "offer": offer.offer.name, "pieces": self.rng.randrange(4), "pause": 30,
            "tokens": tokens or self.rng.choice((3, 90)), "end": end or self.rng.choice(("done", "done", "hang")),
        }  # fmt: skip
        terms: dict[str, Any] = {
            "max_charge": 300,
            "grant": 300,
            "deadline": self.now() + self.rng.choice((500, 3_000, 9_000)),
        }
        self._bought += 1
        if self._bought % NAMELESS == 0:
            terms["id"] = f"{self._bought:x>36}"
        return face.buy(offer, script(said), **{**terms, **changes})
