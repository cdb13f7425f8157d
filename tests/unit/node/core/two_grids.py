"""Two grids that exchange signed groups over a channel that may lose them: a model of one link.

Each keeps its rows as a node's store would. A grid writes honestly through `LogPair.append`, which asserts that
nothing it writes is void, and refuses what it finds void in the other log; `rogue` writes anything.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Sequence

from intertie import agreements, descriptors
from intertie.amounts import charge
from intertie.keys import PrivateKey
from intertie.records import prove
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.metering_pb2 import UsageLine
from intertie.v1.record_pb2 import ExecutionRecord, RecordProof
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED
from intertie_node.core.export_file import framed
from intertie_node.core.holds import Hold, HoldState
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.link_report import LinkReport
from intertie_node.core.log import parse_entry
from intertie_node.core.pair import Fact, LogPair
from intertie_node.core.peering import link_terms
from intertie_node.core.tally import Tally
from intertie_node.core.verifying import verify_export
from intertie_node.ports import Row
from intertie_node.services.exporting import export_link, make_header, read_records

K = pb.EntryKind
START = 1_000_000
WINDOW, LONGEST = 1_000, 10_000
DIGEST = b"\x12\x20" + bytes(32)
PRICES = (("token", 3, 7), ("byte", 1, 1000))


class Identity:
    """Keys and descriptor chain of a grid."""

    def __init__(self, name: str, seed: int, not_after: int = 2**60) -> None:
        self.grid = name
        self.root, self.key = (PrivateKey.from_seed(bytes([seed + i]) * 32) for i in (0, 1))
        keys = (descriptors.SigningKey(self.key.public, 0, not_after),)
        statement = descriptors.Statement(grid=name, issued_at=1, signing_keys=keys)
        self.chain = [descriptors.issue([], statement, self.root)]
        self.descriptor = descriptors.verify_chain(self.chain)
        self.fingerprint = self.descriptor.fingerprint


NORTH, SOUTH, WEST = Identity("north.example", 10), Identity("south.example", 20), Identity("west.example", 30)


def agreement_of(proposer: Identity, acceptor: Identity) -> agreements.VerifiedAgreement:
    parties = [
        agreements.Party(each.fingerprint, each.grid, bytes([n]) * 16, 10**6, 10**6)
        for n, each in enumerate((proposer, acceptor))
    ]
    terms = agreements.Terms(
        proposer=parties[0],
        acceptor=parties[1],
        asset="XTS",
        scale=6,
        claim_window_ms=WINDOW,
        max_skew_ms=1_000,
        max_open_holds=100,
        max_hold_ms=LONGEST,
        proposed_at=START,
    )
    proposal = agreements.propose(terms, proposer.key)
    sealed = agreements.countersign(proposal, proposer.descriptor, acceptor.descriptor, acceptor.key)
    return agreements.verify(sealed, proposer.descriptor, acceptor.descriptor)


AGREEMENT = agreement_of(NORTH, SOUTH)


class Rows:
    """Stands for a store: rows of `entries` and `signatures` of one link."""

    def __init__(self) -> None:
        self.logs: tuple[list[Row], list[Row]] = ([], [])
        self.signed: tuple[list[Row], list[Row]] = ([], [])

    def entry(self, side: int, seq: int, data: bytes, head: bytes) -> None:
        assert seq == len(self.logs[side]) + 1
        self.logs[side].append((seq, data, head))

    def signature(self, signer: int, signature: lk.HeadSignature) -> None:
        rows, place = self.signed[signer], (signature.seq, signature.acked)
        if not rows or rows[-1][:2] != place:
            rows.append((*place, signature.SerializeToString()))

    def entries(self, link: str, side: int, after: int, upto: int, max_bytes: int) -> list[Row]:
        return self.logs[side][after:upto][:3]

    def signatures(self, link: str, signer: int, after: int, upto: int) -> list[Row]:
        return [row for row in self.signed[signer] if after < row[0] <= upto]

    def last_signature(self, link: str, signer: int) -> bytes | None:
        return self.signed[signer][-1][2] if self.signed[signer] else None


Group = tuple[int, list[bytes], lk.HeadSignature]


class Side:
    """One grid's view of the link."""

    def __init__(self, own: Identity, other: Identity) -> None:
        self.own = own
        terms = link_terms(AGREEMENT, own.fingerprint)
        keys = [{each.key.public.key_id: each.key.public} for each in (own, other)]
        self.pair = LogPair(AGREEMENT.genesis, terms, keys.__getitem__)
        self.ledger = self.pair.ledger
        self.tally = Tally(self.ledger, {each.fingerprint: each.descriptor for each in (own, other)})
        self.rows = Rows()
        self.inbox: deque[Group] = deque()
        self.unsent: list[bytes] = []
        self.pending: deque[Fact] = deque()
        """Facts that were taken and not acted upon."""

    def write(self, now: int, kind: int, **body: object) -> int:
        """Append an honest entry; returns its seq."""
        entry = pb.Entry(kind=kind, **body)  # type: ignore[arg-type]
        seq, data, head = self.pair.append(entry, now, self.rows)
        self.unsent.append(data)
        self.tally.note(Fact(ME, seq, entry, None, data, head))
        return seq

    def rogue(self, now: int, kind: int, **body: object) -> str | None:
        """Append anything; returns why it is void."""
        entry, log = pb.Entry(kind=kind, **body), self.pair.logs[ME]  # type: ignore[arg-type]
        entry.seen, entry.at = self.seen, max(now, log.at)
        data = entry.SerializeToString()
        void = self.ledger.apply(ME, log.seq + 1, entry)
        head = log.push(entry.seen, entry.at, data)
        self.rows.entry(ME, log.seq, data, head)
        self.unsent.append(data)
        self.tally.note(Fact(ME, log.seq, entry, void, data, head))
        return void

    def sign(self) -> Group:
        first = self.pair.logs[ME].seq - len(self.unsent) + 1
        group = (first, self.unsent, self.pair.sign(bytes(32), self.own.key, self.rows))
        self.unsent = []
        return group

    def take(self, group: Group) -> None:
        """Take a group of the other's; what is in it is seen once it is handled."""
        for fact in self.pair.take(THEM, *group, self.rows):
            self.tally.note(fact)
            self.pending.append(fact)
            self.pair.unhandled += 1

    def handle(self, now: int, most: int = 10**6) -> None:
        """Act upon some facts: refuse what is void."""
        while self.pending and most:
            fact, most = self.pending.popleft(), most - 1
            self.pair.unhandled -= 1
            if fact.void is not None:
                self.write(now, K.ENTRY_KIND_REFUSE, refuse=pb.Refuse(entry_seq=fact.seq, rule=fact.void))

    def resend(self, after: int) -> list[Group]:
        """Groups of the own log after a cursor, each up to the first signature that covers it."""
        groups, first = [], after + 1
        for seq, _, data in self.rows.signed[ME]:
            if seq >= first:
                entries = [row[1] for row in self.rows.logs[ME][first - 1 : seq]]
                groups.append((first, entries, lk.HeadSignature.FromString(data)))
                first = seq + 1
        return groups

    # -- looking ----------------------------------------------------------------------------------

    @property
    def seen(self) -> int:
        """How much of the other log has been handled."""
        return self.pair.logs[THEM].seq - self.pair.unhandled

    def holds(self, payer: int, *states: HoldState) -> list[Hold]:
        return [hold for (side, _), hold in self.ledger.holds.items() if side == payer and hold.state in states]

    def mirrored(self, swap: bool) -> object:
        """All that both sides must agree on, proposer first. A cancel that crossed the end leaves no mark there."""
        a, b = (THEM, ME) if swap else (ME, THEM)
        lanes = [(x.posted, x.pending, x.granted, x.agreed, x.open) for x in self.ledger.lanes]
        holds = {
            (a if payer == ME else b, seq): (h.state, h.grants, h.claims, h.credits, h.agreed, h.ended_seq)
            for (payer, seq), h in self.ledger.holds.items()
        }
        tally = self.tally
        rest = [(tally.void[side], tally.refused[side], self.ledger.tariffs[side]) for side in (a, b)]
        return [lanes[a], lanes[b], holds, rest]

    def export(self) -> bytes:
        """This side's file."""
        out = io.BytesIO()
        other = SOUTH if self.own is NORTH else NORTH
        header = make_header(self.own.fingerprint, self.own.chain, other.chain, AGREEMENT.envelope)
        export_link(self.rows, "link", header, out)  # type: ignore[arg-type]
        return out.getvalue()


class World:
    """Both sides, the channel between them, and the time."""

    def __init__(self) -> None:
        self.now = START
        self.sides = (Side(NORTH, SOUTH), Side(SOUTH, NORTH))
        self.lossless = True

    def send(self, side: int) -> None:
        self.sides[1 - side].inbox.append(self.sides[side].sign())

    def take(self, side: int) -> None:
        own = self.sides[side]
        if own.inbox:
            own.take(own.inbox.popleft())

    def hear(self, side: int) -> None:
        self.take(side)
        self.sides[side].handle(self.now)

    def reconnect(self) -> None:
        """Everything on the way is lost; both sides resend what the other lacks."""
        self.lossless = False
        for side, other in (self.sides, self.sides[::-1]):
            if side.unsent:
                side.sign()
            other.inbox = deque(side.resend(other.pair.logs[THEM].seq))

    def settle(self) -> None:
        """Exchange everything until both sides hold the same logs and have signed for all of them."""
        for _ in range(6):
            for side in (0, 1):
                self.send(side)
            for side in (0, 1):
                while self.sides[side].inbox or self.sides[side].pending:
                    self.hear(side)
        assert not any(side.unsent for side in self.sides)


def order(now: int, max_charge: int, grant: int, number: int = 0, **fields: object) -> pb.Order:
    made = pb.Order(
        id=f"0190f000-0000-7000-8000-{number:012d}",
        offer_digest=DIGEST,
        max_charge=max_charge,
        grant=grant,
        deadline=now + 5_000,
        nonce=bytes(16),
        **fields,  # type: ignore[arg-type]
    )
    made.input.digest = DIGEST
    for unit, num, den in PRICES:
        made.prices.add(unit=unit, num=num, den=den)
    return made


def claim(order_seq: int, quantities: Sequence[int], final: bool = False, by: Identity | None = None) -> pb.Charge:
    """A charge by PRICES; a final one of a grid's own work has that grid's record."""
    amount = charge([price[1:] for price in PRICES], quantities)
    made = pb.Charge(order_seq=order_seq, quantities=quantities, amount=amount, final=final)
    if final:
        made.state = TASK_STATE_COMPLETED
        if by is not None:
            made.proof.CopyFrom(proof(by, quantities))
    return made


def proof(executor: Identity, quantities: Sequence[int]) -> RecordProof:
    usage = [UsageLine(unit=unit, quantity=q) for (unit, _, _), q in sorted(zip(PRICES, quantities, strict=True))]
    record = ExecutionRecord(
        executor=executor.fingerprint,
        nonce=bytes(16),
        offer_digest=DIGEST,
        input_digest=DIGEST,
        state=TASK_STATE_COMPLETED,
        usage=usage,
    )
    return prove([record.SerializeToString()], executor.fingerprint, START, executor.key)[0]


def verify(file: bytes) -> LinkReport:
    return verify_export(read_records(io.BytesIO(file)))


def records_of(file: bytes) -> list[bytes]:
    return list(read_records(io.BytesIO(file)))


def file_of(records: Sequence[bytes]) -> bytes:
    return b"".join(map(framed, records))


def entries_of(side: Side, whose: int) -> list[pb.Entry]:
    return [parse_entry(row[1]) for row in side.rows.logs[whose]]
