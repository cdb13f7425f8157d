"""What the exported files say: the verdict of `intertie ledger verify`, and the entries and signatures in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from intertie.amounts import format_amount, total_from_bytes
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import export_pb2 as xp
from intertie.v1.link_pb2 import HeadSignature
from intertie.v1.task_pb2 import TaskState
from intertie_node.core.export_file import unframed
from intertie_node.demo.operator import Ran

PROPOSER, ACCEPTOR = 0, 1


class Lane(Struct, frozen=True):
    """What one grid owes the other: minor units."""

    charged: int
    posted: int
    pending: int
    agreed: int
    holds: dict[str, int] = {}


class Side(Struct, frozen=True):
    """One grid's log."""

    grid: str
    entries: int
    signatures: int
    void: list[Any] = []
    refused: list[Any] = []


class Proofs(Struct, frozen=True):
    """Execution records of final charges."""

    proven: int = 0
    executor_absent: int = 0
    faulty: list[Any] = []


class Fault(Struct, frozen=True):
    """Why a file is not to be trusted."""

    reason: str
    message: str


class Report(Struct, frozen=True):
    """What `intertie ledger verify --json` printed, as far as the demo needs it."""

    ok: bool
    genesis: str
    asset: str
    scale: int
    sides: tuple[Side, Side]
    lanes: tuple[Lane, Lane]
    proofs: Proofs
    fault: Fault | None = None


class Export(Struct, frozen=True):
    """One file: who wrote it about the link with whom, and what its verification gave."""

    by: str
    other: str
    file: Path
    status: int
    report: Report

    @property
    def is_verified(self) -> bool:
        """Whether the process that verified it said so twice: by its status and in its report."""
        return self.status == 0 and self.report.ok

    def owes(self, debtor: str) -> Lane:
        """What `debtor` owes the other grid by this file."""
        index = PROPOSER if self.report.sides[PROPOSER].grid == debtor else ACCEPTOR
        return self.report.lanes[index]


class Line(Struct, frozen=True):
    """One entry, or one signature that says a new total, for people."""

    writer: str
    text: str
    seq: int = 0
    """0 for a signature."""
    kind: str = "signature"


def read_report(ran: Ran) -> Report:
    """The report of a verification. Raises: IntertieError INTERNAL if there is none."""
    return msgspec.convert(ran.json(), Report, strict=False)


def records(file: Path) -> Iterator[xp.ExportRecord]:
    """The records of a file, not verified. Raises: IntertieError EXPORT_MALFORMED."""
    with file.open("rb") as source:
        for record in unframed(source.read):
            yield xp.ExportRecord.FromString(record)


class Names(Struct, frozen=True):
    """Names for what entries name by digest."""

    grids: Mapping[bytes, str]
    """Fingerprint → grid."""
    offers: Mapping[bytes, str]
    """Digest → reference."""


def read_log(export: Export, names: Names) -> list[Line]:
    """Both logs in one order that respects what each side had seen, with the signatures that change a total."""
    teller = _Teller(names, export.report.scale)
    sides = {xp.EXPORT_SIDE_PROPOSER: PROPOSER, xp.EXPORT_SIDE_ACCEPTOR: ACCEPTOR}
    totals, lines = [0, 0], []
    for record in records(export.file):
        if not record.HasField("group"):
            continue
        group, side = record.group, sides[record.group.side]
        writer = export.report.sides[side].grid
        for offset, data in enumerate(group.entries):
            entry = pb.Entry.FromString(data)
            kind = pb.EntryKind.Name(entry.kind).removeprefix("ENTRY_KIND_").lower()
            seq = group.first_seq + offset
            lines.append(Line(writer, teller.tell(entry, kind), seq, kind))
        total = total_from_bytes(HeadSignature.FromString(group.signature).agreed_total)
        if total != totals[side]:
            totals[side] = total
            lines.append(Line(writer, f"signs that it owes {teller.money(total)}"))
    return lines


class _Teller:
    """Puts entries into words."""

    def __init__(self, names: Names, scale: int) -> None:
        self._names = names
        self._scale = scale

    def money(self, amount: int) -> str:
        return format_amount(amount, self._scale)

    def tell(self, entry: pb.Entry, kind: str) -> str:
        """One entry, short."""
        say = _WORDS.get(kind)
        return say(self, entry) if say else ""

    def order(self, entry: pb.Entry) -> str:
        order = entry.order
        name = self._names.offers.get(order.offer_digest, order.offer_digest.hex()[:12]).partition("/")[2]
        now = "" if order.grant == order.max_charge else f", now {self.money(order.grant)}"
        return f"{name}, at most {self.money(order.max_charge)}{now}"

    def tariff(self, entry: pb.Entry) -> str:
        tariff = entry.tariff
        origin = self._names.grids.get(tariff.origin, tariff.origin.hex()[:12])
        same = (tariff.markup_num, tariff.markup_den, tariff.fee) == (1, 1, 0)
        terms = "its own prices" if same else f"× {tariff.markup_num}/{tariff.markup_den} + {self.money(tariff.fee)}"
        return f"{origin}: {terms}"

    def grant(self, entry: pb.Entry) -> str:
        return f"for {entry.grant.order_seq}: now {self.money(entry.grant.amount)}"

    def cancel(self, entry: pb.Entry) -> str:
        return f"of {entry.cancel.order_seq}: please stop"

    def charge(self, entry: pb.Entry) -> str:
        body = entry.charge
        state = TaskState.Name(body.state).removeprefix("TASK_STATE_")
        end = f", final, {state}" if body.final else " so far"
        return f"for {body.order_seq}: {self.money(body.amount)}{end}"

    def agreement(self, entry: pb.Entry) -> str:
        return "of both grids applies from here"

    def reject(self, entry: pb.Entry) -> str:
        return f"of {entry.reject.order_seq}: {entry.reject.problem.reason}"


_WORDS: Final = {
    "agreement": _Teller.agreement,
    "tariff": _Teller.tariff,
    "order": _Teller.order,
    "grant": _Teller.grant,
    "cancel": _Teller.cancel,
    "reject": _Teller.reject,
    "charge": _Teller.charge,
}
