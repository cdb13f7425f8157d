"""Any damage of an exported file is found, also by whoever may recompute counts and digest (design §7)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.unit.node.core.small_link import reason, repaired, small
from tests.unit.node.core.two_grids import (
    WEST,
    file_of,
    records_of,
    verify,
)

from intertie.v1 import export_pb2 as xp
from intertie_node.core.link_report import PROPOSER


@pytest.mark.parametrize("part", range(8))
def test_every_flipped_byte_is_found(part: int) -> None:
    file = small().sides[0].export()
    for place in range(part, len(file), 8):
        damaged = bytearray(file)
        damaged[place] ^= 1 << place // 8 % 8
        assert reason(bytes(damaged)), place


@pytest.mark.parametrize("part", range(8))
def test_every_flipped_byte_is_found_without_the_digest_at_the_end(part: int) -> None:
    """Only signatures and hashes stand against whoever recomputes counts and digest."""
    *records, _ = records_of(small().sides[0].export())
    for number, record in enumerate(records):
        for place in range(part, len(record), 8):
            damaged = bytearray(record)
            damaged[place] ^= 1 << place // 8 % 8
            assert reason(repaired([*records[:number], bytes(damaged), *records[number + 1 :]])), (number, place)


@pytest.mark.parametrize("part", range(4))
def test_a_shortened_file_is_found(part: int) -> None:
    file = small().sides[0].export()
    for size in range(part, len(file), 4):
        assert reason(file[:size]) == "EXPORT_MALFORMED"


def test_a_lengthened_file_is_found() -> None:
    file = small().sides[0].export()
    for more in (b"\0", b"\x01", file):
        assert reason(file + more) == "EXPORT_MALFORMED"
    assert reason(b"\xff\xff\xff\xff\x0f" + file) == reason(b"\x80\0" + file) == "EXPORT_MALFORMED"


def test_dropped_doubled_and_swapped_records_are_found() -> None:
    records = records_of(small().sides[0].export())
    for i in range(len(records)):
        assert reason(file_of([*records[:i], *records[i + 1 :]])), f"dropped {i}"
        assert reason(file_of([*records[: i + 1], *records[i:]])), f"doubled {i}"
        assert reason(repaired([*records[: i + 1], *records[i:-1]])), f"doubled {i}, repaired"
        for j in range(i):
            swapped = list(records)
            swapped[i], swapped[j] = swapped[j], swapped[i]
            assert reason(file_of(swapped)), f"swapped {i} and {j}"


def test_a_group_holds_nothing_that_is_not_verified() -> None:
    """`LogPair.take` skips entries that it holds; in a file there are none to skip."""
    records = records_of(small().sides[0].export())[:-1]
    later = [i for i, data in enumerate(records) if xp.ExportRecord.FromString(data).group.first_seq > 1]
    empty = [i for i, data in enumerate(records) if xp.ExportRecord.FromString(data).group.first_seq == 0 and i]
    padded, numbered = (xp.ExportRecord.FromString(records[found[0]]) for found in (later, empty))
    padded.group.first_seq -= 1
    padded.group.entries.insert(0, b"never read")
    numbered.group.first_seq = 1
    for place, changed in ((later[0], padded), (empty[0], numbered)):
        spoilt = [*records[:place], changed.SerializeToString(), *records[place + 1 :]]
        assert reason(repaired(spoilt)) == "LOG_GAP"


def test_groups_that_wait_for_ever_are_named() -> None:
    header, *groups, _ = records_of(small().sides[0].export())
    alone = [data for data in groups if xp.ExportRecord.FromString(data).group.side == xp.EXPORT_SIDE_PROPOSER]
    fault = verify(repaired([header, *alone])).fault
    assert fault is not None
    assert (fault.side, fault.reason) == (PROPOSER, "EXPORT_MALFORMED")
    assert "acceptor's log, of which 0" in fault.message
    assert "north.example" in fault.message


@pytest.mark.parametrize(
    "change",
    [
        lambda header: setattr(header, "version", 2),
        lambda header: setattr(header, "exporter", WEST.fingerprint),
        lambda header: header.proposer_descriptors.pop(),
        lambda header: header.MergeFrom(xp.ExportHeader(acceptor_descriptors=WEST.chain)),
        lambda header: setattr(header, "agreement", header.agreement[:-68]),
    ],
)
def test_what_the_header_must_hold(change: Callable[[xp.ExportHeader], object]) -> None:
    first, *rest, _ = records_of(small().sides[0].export())
    record = xp.ExportRecord.FromString(first)
    change(record.header)
    assert reason(repaired([record.SerializeToString(), *rest]))
