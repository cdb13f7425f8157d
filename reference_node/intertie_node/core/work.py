"""What the core asks the shell to do after a batch is durable and sent."""

from typing import Any

from msgspec import Struct


class StartWork(Struct, frozen=True, gc=False):
    """Run an offer of this grid. Its progress comes back as steps naming `invocation`."""

    invocation: str
    """Id of the invocation (UUIDv7 text of this hop)."""
    offer: str
    """Name of the offer within this grid."""
    input: bytes
    """The input, already checked against the offer's schema and size."""
    media_type: str
    deadline: int
    """Milliseconds since the Unix epoch at which work is stopped."""


class StopWork(Struct, frozen=True):
    """Stop a running invocation: its backend is cancelled and reports how far it came."""

    invocation: str
    reason: str
    """CANCELED or DEADLINE_EXCEEDED (registry/errors.toml)."""


class GiveInput(Struct, frozen=True):
    """A reply to an input request of a running invocation."""

    invocation: str
    request: int
    media_type: str
    data: bytes


class ReadEvents(Struct, frozen=True):
    """Read durable events of an own invocation and give them back as a step."""

    invocation: str
    after: int
    limit_bytes: int


class ReadEntries(Struct, frozen=True):
    """Read a range of both logs of a link and give them back for resending (design §7, Open)."""

    link: str
    connection: Any
    own_after: int
    own_upto: int
    other_after: int
    other_upto: int
    first: bool = False
    """True for the first page: it begins with the last signature of the other side that is held."""


class CloseLink(Struct, frozen=True):
    """Close a connection after everything sent before has been written."""

    connection: Any
    reason: str
    message: str


class FetchOffers(Struct, frozen=True):
    """Fetch offers of an origin by digest from the peer of a link."""

    link: str
    origin: bytes
    root: bytes
    missing: tuple[bytes, ...]


class RecallOrder(Struct, frozen=True):
    """Find an order that has been forgotten, whose payer asks for its events again."""

    link: str
    seq: int
    after: int
    credit: int
