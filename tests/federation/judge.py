"""What must be true of three grids once everything has come to rest, read from their databases alone."""

from __future__ import annotations

import asyncio
import io
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from tests.federation.kit import NodeProcess, Trio
from tests.federation.traffic import Made

from intertie.client import CallResult
from intertie.descriptors import verify_chain
from intertie.v1 import entry_pb2 as pb
from intertie.v1.invocation_pb2 import Outcome
from intertie.v1.task_pb2 import TaskState
from intertie_node.adapters.storage import SqliteStore
from intertie_node.core.link_report import ACCEPTOR, PROPOSER, LinkReport
from intertie_node.core.tasks import TERMINAL
from intertie_node.core.verifying import verify_export
from intertie_node.ports import ME, THEM
from intertie_node.services.exporting import export_link, make_header, read_records

REST_S: Final = 20.0
LEAST_SHARE: Final = 0.9
"""Share of the calls that must complete."""
COMPLETED: Final = TaskState.TASK_STATE_COMPLETED
Log = list[tuple[int, bytes, bytes]]
"""(seq, exact bytes, head) of one log."""


class Books(Struct):
    """One node's rows, as read at one moment."""

    name: str
    peerings: dict[str, str]
    """Link → name of the peer."""
    logs: dict[tuple[str, int], Log]
    signed: dict[tuple[str, int], tuple[int, int]]
    """(link, signer) → (seq, acked) of the last signature."""
    invocations: list[tuple[Any, ...]]
    open_holds: int
    accounts: list[tuple[str, int, int]]
    balances: dict[str, tuple[int, int]]
    moved: int
    """Sum of all transfers' amounts."""


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=5)) as connection:
        connection.execute("BEGIN")
        yield connection


def read(node: NodeProcess) -> Books:
    """Read a node's rows in one transaction."""
    with _reading(node.database) as db:
        logs: dict[tuple[str, int], Log] = {}
        for link, side, seq, data, head in db.execute("SELECT * FROM entries ORDER BY link, side, seq"):
            logs.setdefault((link, side), []).append((seq, data, head))
        signed = {
            (link, signer): (seq, acked)
            for link, signer, seq, acked in db.execute(
                "SELECT link, signer, seq, acked FROM signatures ORDER BY link, signer, seq, acked"
            )
        }
        columns = "id, account, state, active, record, outcome"
        return Books(
            node.name,
            {row[0].hex(): row[1].partition(".")[0] for row in db.execute("SELECT genesis, grid FROM peerings")},
            logs,
            signed,
            db.execute(f"SELECT {columns} FROM invocations ORDER BY id").fetchall(),
            db.execute("SELECT count(*) FROM holds WHERE open = 1").fetchone()[0],
            db.execute("SELECT account, reserved, spent FROM accounts").fetchall(),
            {name: (int(d), int(c)) for name, d, c in db.execute("SELECT name, debits, credits FROM balances")},
            db.execute("SELECT coalesce(sum(amount), 0) FROM transfers").fetchone()[0],
        )


def _pairs(every: dict[str, Books]) -> list[tuple[str, Books, Books]]:
    """(link, one side's rows, the other's), once for each link."""
    found = []
    for name, books in every.items():
        for link, peer in books.peerings.items():
            if name < peer:
                found.append((link, books, every[peer]))
    return found


def unrest(every: dict[str, Books]) -> list[str]:
    """What has not come to rest: work, holds, entries or signatures on their way."""
    found = []
    for books in every.values():
        active = [row[0] for row in books.invocations if row[3]]
        if active or books.open_holds:
            found.append(f"{books.name}: {books.open_holds} open holds, active: {active[:5]}")
    for link, one, other in _pairs(every):
        for mine, theirs in ((one, other), (other, one)):
            held, seen = len(mine.logs.get((link, ME), ())), len(theirs.logs.get((link, THEM), ()))
            if held != seen:
                found.append(f"{mine.name} wrote {held} entries, {theirs.name} holds {seen} of them")
            if theirs.signed.get((link, ME), (0, 0))[1] != held:
                found.append(f"{theirs.name} has signed for {theirs.signed.get((link, ME))} of {mine.name}'s {held}")
            if theirs.signed.get((link, ME)) != mine.signed.get((link, THEM)):
                found.append(f"{mine.name} does not hold the last signature of {theirs.name}")
    return found


async def settled(trio: Trio, seconds: float = REST_S) -> tuple[dict[str, Books], list[str]]:
    """Wait until everything has come to rest; returns the rows, and what still moves when time is up."""
    end = time.monotonic() + seconds
    while True:
        every = {name: await asyncio.to_thread(read, node) for name, node in trio.nodes.items()}
        moving = unrest(every)
        if not moving or time.monotonic() > end:
            return every, moving
        await asyncio.sleep(0.05)


class Judge:
    """Judges a trio again and again; remembers its logs, from which nothing may ever be lost."""

    def __init__(self, trio: Trio) -> None:
        self._trio = trio
        self.restored: set[str] = set()
        """Nodes that were put back to an older copy: what had ended after it has entries there, but no invocation."""
        self._before: dict[tuple[str, str, int], Log] = {}

    async def verdict(self, made: Made, seconds: float = REST_S) -> list[str]:
        """Everything that is wrong, [] if nothing is."""
        for node in self._trio.nodes.values():
            node.check()
        every, faults = await settled(self._trio, seconds)
        faults += self._kept(every)
        faults += [fault for books in every.values() for fault in (*_gaps(books), *_ends(books), *_sums(books))]
        faults += [fault for name, books in every.items() if name not in self.restored for fault in _missing(books)]
        for link, one, other in _pairs(every):
            faults += _same(link, one, other)
            faults += await asyncio.to_thread(self._verified, link, one, other)
        faults += _effects(self._trio, made, every["north"])
        faults += _told(made, every["north"])
        return faults

    def _kept(self, every: dict[str, Books]) -> list[str]:
        faults = []
        for books in every.values():
            for (link, side), log in books.logs.items():
                key = (books.name, link, side)
                before = self._before.get(key, [])
                if log[: len(before)] != before:
                    faults.append(f"{books.name}: entries of {link[:8]}/{side} were lost or changed")
                self._before[key] = log
        return faults

    def _verified(self, link: str, one: Books, other: Books) -> list[str]:
        reports = {books.name: report(self._trio.nodes[books.name], link) for books in (one, other)}
        faults = [
            f"{name}'s log of {link[:8]} does not verify: {found.fault}"
            for name, found in reports.items()
            if not found.ok
        ]
        first, second = reports.values()
        if first.lanes != second.lanes:
            faults.append(f"{one.name} and {other.name} compute different accounts: {first.lanes} {second.lanes}")
        refused = _refused(link, one, other)
        faults += [
            f"never refused: {f}" for f in first.proofs.faulty if (first.sides[f.side].grid, f.seq) not in refused
        ]
        for books in (one, other):
            faults += _owed(books, link, first)
        return faults


def report(node: NodeProcess, link: str) -> LinkReport:
    """Export a link from a node's database, as its operator would, and verify the file."""
    with closing(SqliteStore(node.database)) as store:
        row = store.row("peerings", (bytes.fromhex(link),))
        own = store.row("settings", ("descriptors",))
        assert row and own
        chain = msgspec.msgpack.decode(own[1], type=list[bytes])
        fingerprint = verify_chain(chain).fingerprint
        header = make_header(fingerprint, chain, msgspec.msgpack.decode(row[5], type=list[bytes]), row[4])
        out = io.BytesIO()
        export_link(store, link, header, out)
    out.seek(0)
    return verify_export(read_records(out))


def _refused(link: str, *both: Books) -> set[tuple[str, int]]:
    """(name of the author, seq) of every entry that was ever refused, also if that was taken back."""
    found = set()
    for books in both:
        peer = f"{books.peerings[link]}.example"
        log = (pb.Entry.FromString(data) for _, data, _ in books.logs.get((link, ME), ()))
        found |= {(peer, entry.refuse.entry_seq) for entry in log if entry.kind == pb.ENTRY_KIND_REFUSE}
    return found


def _gaps(books: Books) -> list[str]:
    return [
        f"{books.name}: the log {link[:8]}/{side} has gaps"
        for (link, side), log in books.logs.items()
        if [seq for seq, _, _ in log] != list(range(1, len(log) + 1))
    ]


def _same(link: str, one: Books, other: Books) -> list[str]:
    faults = []
    for mine, theirs in ((one, other), (other, one)):
        written, held = mine.logs.get((link, ME), []), theirs.logs.get((link, THEM), [])
        common = min(len(written), len(held))
        if written[:common] != held[:common]:
            faults.append(f"{mine.name} and {theirs.name} hold different entries of {mine.name}")
    return faults


def _missing(books: Books) -> list[str]:
    """Every valid order that was received has an invocation, and so has every order of an own consumer."""
    known = {row[0].partition("@")[0] for row in books.invocations}
    sides = (ME, THEM) if books.accounts else (THEM,)
    faults = []
    for (link, side), log in books.logs.items():
        entries = [pb.Entry.FromString(data) for _, data, _ in log] if side in sides else []
        lost = [e.order.id for e in entries if e.kind == pb.ENTRY_KIND_ORDER and e.order.id not in known]
        faults += [f"{books.name}: no invocation of order {id} on {link[:8]}" for id in lost]
    return faults


def _ends(books: Books) -> list[str]:
    """One terminal state of its own for each invocation."""
    faults = []
    for key, _, state, active, _, _ in books.invocations:
        if state not in TERMINAL or active:
            faults.append(f"{books.name}: {key} is {TaskState.Name(state)}, active {active}")
    return faults


def _sums(books: Books) -> list[str]:
    """Budgets and books."""
    faults = []
    debits, credits = (sum(balance[side] for balance in books.balances.values()) for side in (0, 1))
    if not debits == credits == books.moved:
        faults.append(f"{books.name}: debits {debits}, credits {credits}, transfers {books.moved}")
    receipts: Counter[str] = Counter()
    for _, account, _, _, _, data in books.invocations:
        receipts[account] += Outcome.FromString(data).receipt.charge if data else 0
    for account, reserved, spent in books.accounts:
        if reserved or spent != receipts[account]:
            faults.append(f"{books.name}: {account} reserved {reserved}, spent {spent}, receipts {receipts[account]}")
    return faults


def _owed(books: Books, link: str, found: LinkReport) -> list[str]:
    """The books say of a link what a stranger computes from its logs."""
    fingerprints = {PROPOSER: found.sides[PROPOSER].grid, ACCEPTOR: found.sides[ACCEPTOR].grid}
    faults = []
    for side, grid in fingerprints.items():
        owes = grid.partition(".")[0] == books.name
        debits, credits = books.balances.get(f"{'payable' if owes else 'receivable'}/{link}", (0, 0))
        booked = credits - debits if owes else debits - credits
        if booked != found.lanes[side].posted:
            faults.append(f"{books.name}: {booked} booked as owed by {grid}, the logs say {found.lanes[side].posted}")
    return faults


def _effects(trio: Trio, made: Made, north: Books) -> list[str]:
    """One effect for each COMPLETED, at most one otherwise."""
    lines = trio.journal.read_text().split("\n")[:-1] if trio.journal.exists() else []
    effects = Counter(line.split()[0] for line in lines)
    faults = [f"{count} effects of {call}" for call, count in effects.items() if count > 1]
    for key, _, state, _, _, _ in north.invocations:
        id = key.partition("@")[0]
        if state == COMPLETED and effects[id] != 1 and "/conformance/" not in made.refs.get(id, "/conformance/"):
            faults.append(f"{id} is COMPLETED with {effects[id]} effects")
    return faults


def _told(made: Made, north: Books) -> list[str]:
    """What the consumer was told stands in the node's rows."""
    rows = {row[0].partition("@")[0]: row for row in north.invocations}
    credited, faults = _credited(north), []
    for id, result in made.results.items():
        row = rows.get(id)
        if row is None:
            faults.append(f"{id}, told as {result.state}, is unknown to its node")
        elif row[2] != result.outcome.state or _differs(result, Outcome.FromString(row[5]), credited[id]):
            faults.append(f"{id}, told as {result.state} for {result.charge}, is otherwise in the node's rows")
    if made.completed < LEAST_SHARE * made.wanted:
        lost = Counter(str(made.results[id].problem) for id in made.results if made.results[id].state != "COMPLETED")
        lost.update(made.refused.values())
        faults.append(f"only {made.completed} of {made.wanted} calls completed: {lost.most_common(5)}")
    return faults


def _credited(books: Books) -> Counter[str]:
    """What providers have credited, by id of the order."""
    found: Counter[str] = Counter()
    for link in books.peerings:
        logs = [[pb.Entry.FromString(data) for _, data, _ in books.logs.get((link, side), [])] for side in (ME, THEM)]
        ids = {seq: entry.order.id for seq, entry in enumerate(logs[ME], 1) if entry.kind == pb.ENTRY_KIND_ORDER}
        for entry in logs[THEM]:
            if entry.kind == pb.ENTRY_KIND_CREDIT:
                found[ids[entry.credit.order_seq]] += entry.credit.amount
    return found


def _differs(told: CallResult, stored: Outcome, credited: int) -> bool:
    """Whether the charge is another one than was told, less what was credited since.

    Where the outcome was unknown, the money may be known later.
    """
    unknown = told.problem is not None and told.problem.reason == "OUTCOME_UNKNOWN"
    return not unknown and not 0 <= told.charge - stored.receipt.charge <= credited


def entries(books: Books, peer: str, side: int) -> Sequence[tuple[int, bytes, bytes]]:
    """One log of the link with a peer."""
    link = next(link for link, name in books.peerings.items() if name == peer)
    return books.logs.get((link, side), [])
