"""RFC 0008, section 3.5: what every sender of advertisements keeps."""

from __future__ import annotations

import contextlib

from google.protobuf.message import DecodeError

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.grid.account import THEM
from intertie_conformance.passive import Sight, passive


@passive("IT-CAT-041")
def epochs_rise(sight: Sight) -> str | None:
    """Rounds of a session have rising epochs, and each ends with an advertisement that holds the end alone."""
    if sight.frame is None or not sight.frame.advertisements:
        return None
    memory = sight.memory.setdefault("rounds", {"epoch": 0, "ended": True})
    for item in sight.frame.advertisements:
        new = item.epoch != memory["epoch"]
        if item.epoch < memory["epoch"] or (memory["ended"] and not new) or (not memory["ended"] and new):
            return f"epoch {item.epoch} after epoch {memory['epoch']}, ended: {memory['ended']}"
        if item.end == item.HasField("route"):
            return "an advertisement with neither a route nor an end"
        memory.update(epoch=item.epoch, ended=item.end)
    return ""


@passive("IT-CAT-046")
def tariffs_written(sight: Sight) -> str | None:
    """Each route names a tariff of the same frame or before, which prices its origin."""
    if sight.frame is None or not sight.peer.judges:
        return None
    routes = [item.route for item in sight.frame.advertisements if item.HasField("route")]
    if not routes:
        return None
    logs = sight.peer.logs
    known = {seq: tariff.origin for seq, tariff in logs.account.tariffs[THEM].items()}
    for number, data in enumerate(sight.frame.entries, sight.frame.first_seq):
        with contextlib.suppress(DecodeError):
            entry = pb.Entry.FromString(data)
            if entry.HasField("tariff"):
                known[number] = entry.tariff.origin
    wrong = [route.tariff_seq for route in routes if known.get(route.tariff_seq) != route.path[-1]]
    return f"routes that name the tariffs {wrong}" if wrong else ""
