"""What the offline verification of an exported link found (design §7, §9). Amounts are minor units.

Lists and pairs are in the order (proposer, acceptor), whoever exported the file.
"""

from msgspec import Struct, field

PROPOSER, ACCEPTOR = 0, 1
"""Sides of an exported link: whose log, who pays, who signed."""
SIDE_NAMES = ("proposer", "acceptor")


class Fault(Struct, frozen=True):
    """The first thing that makes the file untrustworthy."""

    side: int | None
    """Whose log; None where the file as a whole is at fault."""
    seq: int
    """Seq of the signature whose group is at fault, 0 where there is none."""
    reason: str
    """A row of registry/errors.toml."""
    message: str
    """For people: where and what."""


class Finding(Struct, frozen=True):
    """Something said of one entry, which does not make the file untrustworthy."""

    side: int
    seq: int
    reason: str
    message: str = ""


class SideReport(Struct):
    """One grid's log and signatures."""

    fingerprint: bytes = b""
    grid: str = ""
    entries: int = 0
    signatures: int = 0
    acked: int = 0
    """How much of the other log its last signature acknowledges."""
    void: list[Finding] = []
    """Entries without effect, with the broken rule, in order of seq."""
    refused: list[Finding] = []
    """Entries that the other side refuses, with the rule it names, in order of seq."""


class LaneReport(Struct):
    """What one grid owes the other, as the debtor's side index says."""

    charged: int = 0
    """Valid charges, gross."""
    credited: int = 0
    """Valid credits."""
    posted: int = 0
    """Charged less credited."""
    pending: int = 0
    """Reserved by open holds beyond what they were charged."""
    agreed: int = 0
    """What the debtor's last signature states."""
    holds: dict[str, int] = {}
    """Number of holds by state: OPEN, CHARGED, REJECTED, EXPIRED."""


class ProofsReport(Struct):
    """Execution records of final charges that count."""

    proven: int = 0
    """The executor's signature holds, and the record is about the order and its quantities."""
    executor_absent: int = 0
    """Not checked: the executor is neither of the two grids."""
    without_record: int = 0
    """No work done and nothing charged, so no record is owed."""
    faulty: list[Finding] = []
    """Charges whose record does not hold; agreed to if their payer has not refused them."""


class LinkReport(Struct):
    """Result of `verify_export`. Where `ok` is False, everything is as of the first fault."""

    ok: bool = False
    fault: Fault | None = None
    exporter: bytes = b""
    """Fingerprint of the grid that wrote the file."""
    genesis: bytes = b""
    asset: str = ""
    scale: int = 0
    sides: tuple[SideReport, SideReport] = field(default_factory=lambda: (SideReport(), SideReport()))
    lanes: tuple[LaneReport, LaneReport] = field(default_factory=lambda: (LaneReport(), LaneReport()))
    """By debtor."""
    proofs: ProofsReport = field(default_factory=ProofsReport)
