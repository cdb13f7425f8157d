"""`--tamper`: one byte of one exported file is changed, so that one can see what a verification is worth."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from intertie.errors import IntertieError
from intertie.v1 import entry_pb2 as pb
from intertie_node.demo.exports import records

_AMOUNT_TAG = b"\x18"
"""Field 3 of Charge, a varint."""


class Tampered(Struct, frozen=True):
    """What was changed."""

    file: Path
    offset: int
    before: int
    after: int
    order_seq: int
    amount: int
    """The charge as its creditor wrote it, minor units."""
    forged: int
    """As the file has it now."""


def tamper(file: Path) -> Tampered:
    """Change the amount of the last charge in an exported link by its lowest bit: one byte of the file.

    Raises: IntertieError EXPORT_MALFORMED if the file holds no charge.
    """
    for data in reversed([data for record in records(file) for data in record.group.entries]):
        entry = pb.Entry.FromString(data)
        if entry.kind == pb.ENTRY_KIND_CHARGE and entry.charge.amount > 1:
            return _flip(file, data, entry.charge)
    raise IntertieError("EXPORT_MALFORMED", f"{file.name} holds no charge.")


def _flip(file: Path, data: bytes, charge: pb.Charge) -> Tampered:
    content = bytearray(file.read_bytes())
    place = data.index(_AMOUNT_TAG + _varint(charge.amount)) + 1
    offset = content.index(data) + place
    before = content[offset]
    content[offset] = before ^ 1
    file.write_bytes(content)
    forged = pb.Entry.FromString(bytes(content[offset - place : offset - place + len(data)])).charge.amount
    return Tampered(file, offset, before, content[offset], charge.order_seq, charge.amount, forged)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
