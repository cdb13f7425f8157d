"""What the shell must provide to the engine: store, backends, signer, clock (design §4).

Adapters implement these; `app.py` composes them. Amounts are minor units, times are milliseconds since
the Unix epoch, digests are multihashes, heads are 32 bytes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct

from intertie.errors import IntertieError
from intertie.v1.account_pb2 import GetAccountResponse, ListChargesRequest, ListChargesResponse
from intertie.v1.catalog_pb2 import ListedOffer, SearchRequest, SearchResponse
from intertie.v1.directory_pb2 import ProposeRequest, ProposeResponse
from intertie.v1.invocation_pb2 import (
    CancelRequest,
    Invocation,
    InvocationEvent,
    InvocationStatus,
    ListRequest,
    ListResponse,
    SendInputRequest,
)
from intertie_node.core.effects import Changes, Row
from intertie_node.core.ledger import ME as ME
from intertie_node.core.ledger import THEM as THEM

TABLES: Mapping[str, tuple[tuple[str, ...], int]] = {
    # append-only: (columns, number of leading key columns)
    "entries": (("link", "side", "seq", "bytes", "head"), 3),
    "signatures": (("link", "signer", "seq", "acked", "bytes"), 4),
    "events": (("invocation", "number", "bytes"), 2),
    "transfers": (("debit", "credit", "amount", "asset", "at", "link", "side", "seq", "invocation"), 0),
    # keyed: put, replaced and deleted by primary key
    "links": (("link", "state"), 1),
    "holds": (("link", "payer", "seq", "open", "state"), 3),
    "invocations": (
        (
            "id",
            "account",
            "digest",
            "offer",
            "state",
            "created_at",
            "ended_at",
            "active",
            "record",
            "outcome",
        ),
        1,
    ),
    "accounts": (("account", "token_hash", "budget", "reserved", "spent", "created_at", "revoked"), 1),
    "balances": (("name", "asset", "debits", "credits"), 2),
    "peerings": (("genesis", "fingerprint", "grid", "state", "agreement", "descriptors", "updated_at"), 1),
    "proposals": (
        ("digest", "direction", "fingerprint", "grid", "state", "agreement", "descriptors", "at"),
        1,
    ),
    "routes": (("link", "origin", "route"), 2),
    "offers": (("digest", "origin", "name", "bytes"), 1),
    "settings": (("name", "value"), 1),
}
"""Table name → (columns in row order, number of leading columns that are the key)."""


class Store(Protocol):
    """Durable storage of one node. Every method but `commit` only reads committed rows."""

    def commit(self, changes: Changes) -> None:
        """Write all rows in one durable transaction (blocking; called from one thread at a time).

        Raises: StoreFailure when the rows are not durable; the process must then stop.
        """
        ...

    def all_rows(self, table: str) -> list[Row]:
        """Every row of a small table."""
        ...

    def row(self, table: str, key: Row) -> Row | None:
        """The row with that primary key."""
        ...

    def open_holds(self, link: str) -> list[Row]:
        """Rows of `holds` with `open` > 0."""
        ...

    def active_invocations(self) -> list[Row]:
        """Rows of `invocations` with `active` = 1."""
        ...

    def newest_invocation_id(self, account: str) -> str:
        """Greatest id of an account's invocations, "" if there is none."""
        ...

    def invocations_page(self, account: str | None, before: str, limit: int, states: Sequence[int]) -> list[Row]:
        """Invocations in falling order of id, below `before` ("" for the newest)."""
        ...

    def entries(self, link: str, side: int, after: int, upto: int, max_bytes: int) -> list[Row]:
        """Rows (seq, bytes, head) of a log with after < seq ≤ upto, at most about `max_bytes` of bytes."""
        ...

    def signatures(self, link: str, signer: int, after: int, upto: int) -> list[Row]:
        """Rows (seq, acked, bytes) with after < seq ≤ upto, in order of making; `after` -1 for all."""
        ...

    def last_signature(self, link: str, signer: int) -> bytes | None:
        """Newest signature of a side, as serialized HeadSignature."""
        ...

    def events(self, invocation: str, after: int, max_bytes: int) -> list[Row]:
        """Rows (number, bytes) with number > after, at least one if there is any."""
        ...

    def prune_events(self, before: str) -> int:
        """Delete durable events of invocations whose id sorts below `before`; returns how many (blocking).

        Ids begin with their time, so this is what has passed its retention. Raises: StoreFailure.
        """
        ...

    def transfers_page(self, before: int, limit: int) -> list[Row]:
        """Rows (rowid, *transfers) in falling order."""
        ...

    def close(self) -> None:
        """Close files; commits nothing."""
        ...


class StoreFailure(Exception):  # noqa: N818 - read as a sentence where it is raised
    """The store could not make rows durable, or is not usable: the message says what to do."""


Kind = Literal["agent", "tool", "model", "environment"]
"""What an offer is, as a backend says it."""


class OfferSpec(Struct, frozen=True, kw_only=True):
    """What a backend offers; becomes an `Offer` message once prices and place are added."""

    name: str
    kind: Kind = "tool"
    description: str = ""
    tags: tuple[str, ...] = ()
    version: str = "1"
    input_schema: bytes = b"{}"
    output_schema: bytes = b""
    features: tuple[str, ...] = ()
    max_duration_ms: int = 600_000
    captured_type: str = ""
    captured: bytes = b""


class WorkResult(Struct, frozen=True):
    """How a run ended. Usage was metered on the way. A part of another type or form fails the invocation."""

    media_type: str = ""
    output: bytes = b""
    is_error: bool = False
    energy: Any = None
    """An intertie.v1 Energy message, its boundary of at most 256 characters, or None for unknown."""


class Run(Protocol):
    """What a backend may do while it runs one invocation."""

    invocation: str
    input: bytes
    media_type: str
    deadline: int

    async def meter(self, unit: str, quantity: int) -> None:
        """Add atoms of a unit, registered or private, 0 to 2^63-1. Waits while the grant is used up.

        Raises: IntertieError GRANT_EXHAUSTED when the maximum charge forbids it, EXECUTION_FAILED for what is no
        unit or no quantity and for a sixteenth unit; the backend lets it pass.
        """
        ...

    async def chunk(self, data: bytes, media_type: str = "text/plain", usage: Mapping[str, int] | None = None) -> None:
        """Send a durable piece of output (≤ 16 KiB), metering `usage` with it in the same step."""
        ...

    def progress(self, done: int, total: int = 0, comment: str = "") -> None:
        """Send ephemeral progress."""
        ...

    async def ask(self, prompt: str, schema: bytes = b"") -> bytes:
        """Ask the caller for input and wait for the reply's bytes."""
        ...


class RefuseWork(Exception):  # noqa: N818 - an instruction, not an error
    """Raised by `Backend.run` before it has metered or sent anything: no work was done.

    The order may be rejected with `error`; a node that can no longer reject reports FAILED with it.
    """

    def __init__(self, error: IntertieError) -> None:
        super().__init__(error)
        self.error = error


class Backend(Protocol):
    """Something that does work: a Python callable, an MCP server, a folder to search, …"""

    async def start(self) -> Sequence[OfferSpec]:
        """Become ready and say what is offered. Raises: IntertieError BACKEND_UNAVAILABLE."""
        ...

    async def run(self, offer: str, run: Run) -> WorkResult:
        """Do the work of one invocation.

        Raises: IntertieError with a registered reason when it fails; RefuseWork before any work;
        anything else becomes EXECUTION_FAILED.
        Cancellation (asyncio.CancelledError) must be let through promptly.
        """
        ...

    async def stop(self) -> None:
        """Release what was started; idempotent."""
        ...


class Connection(Protocol):
    """One stream of a link; frames are written in order by one writer."""

    fingerprint: bytes
    """The peer's grid, by the certificate of the handshake."""
    fault: str
    """Why this side has cut the stream, as "REASON: message"; "" if it has not."""

    def send(self, frame: bytes) -> None:
        """Queue a serialized frame; never waits."""
        ...

    def taken(self) -> None:
        """Told once for every frame handed to the receiver, when it has been acted upon: few may wait."""
        ...

    def close(self, reason: str) -> None:
        """Close after what is queued has been written, at most a second later."""
        ...


class Receiver(Protocol):
    """What a connection tells: called from the event loop."""

    def frame(self, connection: Connection, data: bytes) -> None:
        """A serialized frame has arrived."""
        ...

    def lost(self, connection: Connection) -> None:
        """The connection has gone, once."""
        ...


class Reach(Struct, frozen=True):
    """How a peer is reached."""

    grid: str
    addresses: Sequence[str]
    certificates: Sequence[bytes]
    """DER; exactly one of these must be presented."""


class Dialler(Protocol):
    """Reaches the peer port of another grid with mutual TLS."""

    async def dial(self, reach: Reach, fingerprint: bytes, receiver: Receiver) -> Connection:
        """Open a link stream. Raises: IntertieError PEER_UNAVAILABLE."""
        ...

    async def offers(self, reach: Reach, genesis: bytes, root: bytes, have: Sequence[bytes]) -> list[bytes]:
        """Fetch offers of a catalog root by SyncCatalog. Raises: IntertieError PEER_UNAVAILABLE."""
        ...


class StrangerCalls(Protocol):
    """Asks the directory service of other grids."""

    async def descriptors(self, address: str) -> list[bytes]:
        """Descriptor chain of the grid at a public address; the certificate met there must stand in it.

        Raises: IntertieError PEER_UNAVAILABLE, CERTIFICATE_MISMATCH.
        """
        ...

    async def propose(self, reach: Reach, request: ProposeRequest) -> ProposeResponse:
        """Send a proposal. Raises: IntertieError PEER_UNAVAILABLE, and what the other grid refuses it with."""
        ...


class Clock(Protocol):
    """Source of time."""

    def __call__(self) -> int:
        """Milliseconds since the Unix epoch."""
        ...


class Subscription(Protocol):
    """A consumer's view of events; made by the consumer face, fed by the core after each commit."""

    next: int
    """Number of the next durable event that it wants."""

    def push(self, item: InvocationEvent) -> None:
        """Take an event, or the outcome or refusal, which is the last item of its invocation."""
        ...


class Consumers(Protocol):
    """What the consumer face asks of the node. All raise IntertieError with a registered reason."""

    def account(self, token: str) -> str:
        """Account name of a bearer token. Raises: UNAUTHENTICATED."""
        ...

    def invoke(self, account: str, request: Invocation, subscription: Subscription) -> None:
        """Start or join an invocation; refusals reach the subscription."""
        ...

    def subscribe(self, account: str, invocation: str, after: int, subscription: Subscription) -> None:
        """Send events after a number, then the outcome; NOT_FOUND reaches the subscription."""
        ...

    def unsubscribe(self, account: str, invocation: str, subscription: Subscription) -> None:
        """The consumer listens no longer."""
        ...

    def consumed(self, account: str, invocation: str, size: int) -> None:
        """`size` bytes of events have been taken: as many more may come."""
        ...

    async def caught_up(self) -> None:
        """Return once everything asked for so far has been acted upon, durable or not."""
        ...

    async def send_input(self, account: str, request: SendInputRequest) -> None:
        """Answer an input request."""
        ...

    async def cancel(self, account: str, request: CancelRequest) -> InvocationStatus:
        """Ask to stop."""
        ...

    async def get(self, account: str, invocation: str) -> InvocationStatus:
        """One invocation as it stands."""
        ...

    async def list(self, account: str, request: ListRequest) -> ListResponse:
        """A page of invocations."""
        ...

    def search(self, request: SearchRequest) -> SearchResponse:
        """A page of offers."""
        ...

    def offer(self, ref: str) -> ListedOffer:
        """One offer."""
        ...

    def catalog_version(self) -> int:
        """Rises with every change of the catalog."""
        ...

    def status(self, account: str) -> GetAccountResponse:
        """Budget and spending."""
        ...

    async def charges(self, account: str, request: ListChargesRequest) -> ListChargesResponse:
        """A page of charges."""
        ...


class Strangers(Protocol):
    """What the directory service asks of the node."""

    def descriptors(self, after_version: int) -> Sequence[bytes]:
        """This grid's descriptor chain."""
        ...

    async def propose(self, request: ProposeRequest) -> ProposeResponse:
        """Take a proposal, or say how it stands. Raises: IntertieError."""
        ...
