"""The demo's outcome as one JSON object; amounts, quantities and energies are text, as everywhere in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from intertie.client import CallResult
from intertie.errors import IntertieError
from intertie_node.demo.exports import Export
from intertie_node.demo.grids import PLACES
from intertie_node.demo.scenario import Performance
from intertie_node.demo.verdict import LINKS


def described(performance: Performance, *, kept: bool) -> dict[str, Any]:
    """The object that `intertie demo --json` prints."""
    work, books = performance.work, performance.books
    return {
        "ok": performance.is_good,
        "balances_agree": books.agree,
        "margin": str(books.margin),
        "asset": work.asset,
        "scale": work.scale,
        "grids": [_grid(performance, name, kept) for name in performance.grids],
        "links": [_link(performance, link) for link in LINKS],
        "invocations": [_invocation(each.offer, each.result) for each in work.invoked],
        "refused": [
            {"offer": r.offer, "reason": r.reason, "message": r.message, "max_charge": str(r.max_charge)}
            for r in work.refused
        ],
        "stream": {
            "id": work.streamed.id,
            "bytes": len(work.streamed.text),
            "chunks": work.streamed.chunks,
            "chunks_before_break": work.streamed.chunks_before,
            "chunks_after_return": work.streamed.chunks_after,
            "silence_ms": work.streamed.silence_ms,
            "gapless": work.streamed.is_gapless,
            "text_is_the_signed_one": work.streamed.signed,
        },
        "account": {"budget": str(work.budget), "spent": str(work.spent), "reserved": str(work.reserved)},
        "tampered": _tampered(performance),
        "checks": [msgspec.to_builtins(check) for check in performance.checks],
        "seconds": round(performance.seconds, 1),
        **({"token": performance.token, "folder": str(performance.folder)} if kept else {}),
    }


def failed(error: IntertieError) -> dict[str, Any]:
    """The object of a demo that could not be played to its end."""
    check = {"what": "the demo can be played", "ok": False, "found": f"{error.reason}: {error.message}"}
    return {"ok": False, "balances_agree": False, "checks": [check]}


def _grid(performance: Performance, name: str, kept: bool) -> dict[str, Any]:
    grid = performance.grids[name]
    return {
        "name": name,
        "fingerprint": performance.fingerprints[name],
        "place": PLACES[name],
        "public": grid.public,
        "peer": grid.peer,
        "loopback": grid.loopback,
        **({"pid": performance.pids[name], "folder": str(grid.folder)} if kept else {}),
    }


def _link(performance: Performance, link: tuple[str, str]) -> dict[str, Any]:
    exports = performance.books.of_link(*link)
    return {
        "grids": list(link),
        "genesis": exports[0].report.genesis,
        "exports": [_export(export) for export in exports],
        "log": [msgspec.to_builtins(line) for line in performance.logs[link]],
    }


def _export(export: Export) -> dict[str, Any]:
    fault = export.report.fault
    sides = zip(export.report.sides, export.report.lanes, strict=True)
    return {
        "by": export.by,
        "file": export.file.name,
        "verified": export.is_verified,
        "fault": None if fault is None else {"reason": fault.reason, "message": fault.message},
        "owes": {
            side.grid: {"charged": str(lane.charged), "posted": str(lane.posted), "agreed": str(lane.agreed)}
            for side, lane in sides
        },
        "entries": {side.grid: side.entries for side in export.report.sides},
        "signatures": {side.grid: side.signatures for side in export.report.sides},
    }


def _invocation(offer: str, result: CallResult) -> dict[str, Any]:
    return {
        "id": result.id,
        "offer": offer,
        "path": list(result.path),
        "executed_by": result.executed_by,
        "place": result.place,
        "state": result.state,
        "usage": {unit: str(quantity) for unit, quantity in result.usage.items()},
        "charge": str(result.charge),
        "energy": _energy(result),
    }


def _energy(result: CallResult) -> Mapping[str, str]:
    energy = result.energy
    if energy is None:
        return {"method": "unknown"}
    return {
        "method": energy.method,
        "millijoules": str(energy.millijoules),
        "lower": str(energy.lower),
        "upper": str(energy.upper),
        "boundary": energy.boundary,
    }


def _tampered(performance: Performance) -> dict[str, Any] | None:
    tampered = performance.tampered
    if tampered is None:
        return None
    return {"file": tampered.file.name, "offset": tampered.offset, "before": tampered.before, "after": tampered.after}
