"""`intertie ledger verify`: how a report on an exported link is made and shown."""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from intertie_node.cli.failing import interruptible
from intertie_node.cli.showing import console, money, show_pairs, show_table

if TYPE_CHECKING:
    from intertie_node.core.link_report import LinkReport

AMOUNTS = ("charged", "credited", "posted", "pending", "agreed")


def verified(file: Path, *, quiet: bool) -> "LinkReport":
    """Verify a file, - for standard input, with a progress bar. Raises: OSError if it cannot be read."""
    from intertie_node.core.verifying import verify_export

    with interruptible(), _opened(file) as source:
        return verify_export(_told(source, quiet))


def _opened(file: Path) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if file == Path("-") else file.open("rb")


def _told(source: BinaryIO, quiet: bool) -> Iterator[bytes]:
    """The records of a file or pipe, with a progress bar; of a pipe nobody knows how long it is."""
    from rich.progress import Progress

    from intertie_node.services.exporting import read_records

    total = os.fstat(source.fileno()).st_size if source.seekable() else None
    with Progress(console=console(error=True), transient=True, disable=quiet) as progress:
        task = progress.add_task("verifying", total=total)
        for record in read_records(source):
            progress.advance(task, len(record))
            yield record


def plain(report: "LinkReport") -> dict[str, Any]:
    """A report as plain values: bytes as hex, amounts as text."""
    shown: dict[str, Any] = _hex(msgspec.to_builtins(report, builtin_types=(bytes,)))
    for lane in shown["lanes"]:
        lane.update({name: str(lane[name]) for name in AMOUNTS})
    return shown


def _hex(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _hex(item) for key, item in value.items()}
    return [_hex(item) for item in value] if isinstance(value, list | tuple) else value


def show_report(report: "LinkReport") -> None:
    """Print a report for people."""
    asset = (report.asset, report.scale)
    if report.fault is not None:
        print(f"NOT VERIFIED: {report.fault.reason}: {report.fault.message}")
    else:
        print("verified: identities, signatures, rules and totals hold")
    if not report.genesis:
        return
    show_pairs([("genesis", report.genesis.hex()), ("asset", report.asset)])
    rows = []
    for side, lane in zip(report.sides, report.lanes, strict=True):
        by = " (exporter)" if side.fingerprint == report.exporter else ""
        counts = (str(side.entries), str(side.signatures), str(len(side.void)), str(len(side.refused)))
        rows.append((side.grid + by, *counts, *(money(getattr(lane, name), *asset) for name in ("posted", "agreed"))))
    columns = ("grid", ">entries", ">signatures", ">void", ">refused", ">owes", ">agreed")
    show_table(columns, rows, empty="")
    proofs = report.proofs
    print(
        f"records: {proofs.proven} proven, {proofs.executor_absent} by third grids, "
        f"{proofs.without_record} without work, {len(proofs.faulty)} faulty"
    )
