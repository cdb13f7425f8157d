"""What the operator API says: the answers and requests of a node's admin socket, as typed structs.

The reference node's own, not standardised (design §3). Fingerprints, digests and genesis heads are hex text,
times milliseconds since the Unix epoch. Amounts are minor units of an asset; JSON shows them as strings.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from intertie.errors import IntertieError
from intertie.paging import Page as Page

T = TypeVar("T")
SOCKET_NAME: Final = "admin.sock"
"""The admin socket within the data directory."""
DEFAULT_PAGE: Final = 50
MAX_PAGE: Final = 500


class Amount(int):
    """Minor units; text in JSON, since JSON's numbers are not exact above 2^53."""


class Problem(Struct, frozen=True):
    """A named error."""

    reason: str
    message: str
    metadata: dict[str, str] = {}


class Status(Struct, frozen=True, kw_only=True):
    """How a node is."""

    grid: str
    fingerprint: str
    state: str
    asset: str
    scale: int
    now: int
    started_at: int
    pid: int
    ports: dict[str, int]
    offers: int
    peerings: int
    links_up: int
    invocations: int
    """Those that have not ended."""
    running: int
    commits: int
    steps: int


class DescriptorView(Struct, frozen=True, kw_only=True):
    """A grid's descriptor."""

    grid: str
    fingerprint: str
    version: int
    place: str
    public_endpoints: Sequence[str]
    peer_endpoints: Sequence[str]
    certificates: Sequence[str]
    """SHA-256 of each certificate's DER."""
    signing_keys: Sequence[str]
    chain: Sequence[bytes] = ()
    """Serialized envelopes of versions 1 to `version` (base64 in JSON)."""


class LaneView(Struct, frozen=True, kw_only=True):
    """What one grid owes the other."""

    posted: Amount
    pending: Amount
    agreed: Amount
    unagreed: Amount
    open_holds: int
    credit_limit: Amount
    max_unagreed: Amount


class PeeringView(Struct, frozen=True, kw_only=True):
    """A peering and its link."""

    genesis: str
    grid: str
    fingerprint: str
    state: str
    """ACTIVE, SUSPENDED or TERMINATED."""
    link: str
    """down, opening, catching up or open."""
    closed: str
    """Why the last connection was closed or could not be made; "" if none was."""
    asset: str
    scale: int
    own_entries: int
    their_entries: int
    we_owe: LaneView
    they_owe: LaneView


class Terms(Struct, frozen=True, kw_only=True):
    """Terms of an agreement, seen from this grid."""

    asset: str
    scale: int
    our_credit_limit: Amount
    """Most that this grid may owe."""
    their_credit_limit: Amount
    our_max_unagreed: Amount
    their_max_unagreed: Amount
    claim_window_ms: int
    max_skew_ms: int
    max_open_holds: int
    max_hold_ms: int


class ProposalView(Struct, frozen=True, kw_only=True):
    """A proposal for a peering."""

    digest: str
    direction: str
    """"incoming" or "outgoing"."""
    grid: str
    fingerprint: str
    state: str
    """PROPOSED, ACTIVE or REFUSED."""
    at: int
    terms: Terms


class LookRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Who is at this public address?"""

    address: str


class ProposeRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Propose a peering; what is None is as in [peering] of the configuration."""

    address: str
    fingerprint: str
    """Of the grid that is expected there."""
    our_credit_limit: Amount | None = None
    their_credit_limit: Amount | None = None
    our_max_unagreed: Amount | None = None
    their_max_unagreed: Amount | None = None
    claim_window_ms: int | None = None
    max_skew_ms: int | None = None
    max_open_holds: int | None = None
    max_hold_ms: int | None = None


class AccountView(Struct, frozen=True, kw_only=True):
    """A consumer account."""

    account: str
    budget: Amount
    reserved: Amount
    spent: Amount
    left: Amount
    created_at: int
    revoked_at: int
    """0 if its token is valid."""


class TokenRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Make a token for a new account, or for one whose token was revoked."""

    account: str
    budget: Amount
    """Most that the account may spend in all."""


class TokenMade(Struct, frozen=True):
    """A new token; it is shown once."""

    account: str
    token: str
    budget: Amount


class InvocationView(Struct, frozen=True, kw_only=True):
    """An invocation at this node, of any account or peer."""

    id: str
    caller: str
    """Account, or the grid whose order it is."""
    is_order: bool
    offer: str
    state: str
    created_at: int
    ended_at: int
    reserved: Amount
    charge: Amount
    """What its consumer was charged; 0 for an order, whose charge stands in the link's log."""
    executed_by: str
    path: Sequence[str]
    problem: Problem | None


class CreditRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Take back part of what was charged for an order of a peer."""

    order: str
    """Id of the invocation here, or PEER/SEQ: the peer and the order's seq in its log."""
    amount: Amount
    comment: str = ""


class CreditView(Struct, frozen=True, kw_only=True):
    """A credit that was written."""

    peer: str
    order_seq: int
    seq: int
    """Of the credit in the own log."""
    amount: Amount
    left: Amount
    """What is still charged for the order."""


class WithdrawRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Take an own refusal back."""

    entry: str
    """PEER/SEQ: the peer and the refused entry's seq in its log."""


class WithdrawView(Struct, frozen=True, kw_only=True):
    """A withdrawal that was written."""

    peer: str
    entry_seq: int
    seq: int
    """Of the withdrawal in the own log."""


class BalanceView(Struct, frozen=True):
    """An account of the books in one asset."""

    account: str
    peer: str
    """Grid of the link that the account belongs to, "" if it belongs to none."""
    debits: Amount
    credits: Amount
    upstream: str = ""
    """Grid whose orders were passed on, where the account is about them alone."""


class TrialBalance(Struct, frozen=True, kw_only=True):
    """All accounts of one asset."""

    asset: str
    scale: int
    debits: Amount
    credits: Amount
    balanced: bool
    accounts: Sequence[BalanceView]


class EntryView(Struct, frozen=True, kw_only=True):
    """An entry of a link's logs."""

    writer: str
    """Grid that wrote it."""
    own: bool
    seq: int
    seen: int
    at: int
    kind: str
    body: dict[str, Any]


class OfferView(Struct, frozen=True, kw_only=True):
    """An offer as this grid can sell it."""

    ref: str
    kind: str
    description: str
    version: str
    asset: str
    scale: int
    prices: dict[str, str]
    """Unit → exact rational of minor units an atom; empty if there is no way to the offer now."""
    path: Sequence[str]
    place: str
    features: Sequence[str]
    tags: Sequence[str]


class Measures(Struct, frozen=True, kw_only=True):
    """What is measured; counters count from the start of the process."""

    commits: int
    steps: int
    frames_in: int
    frames_out: int
    running: int
    offers: int
    invocations: dict[str, int]
    """State → how many are in memory."""
    links: Sequence[PeeringView]


def encode(value: Any) -> bytes:
    """JSON of a struct."""
    return msgspec.json.encode(value, enc_hook=_text_of)


def decode(data: bytes, kind: type[T]) -> T:
    """A struct from JSON. Raises: IntertieError INVALID_ARGUMENT naming what is wrong where."""
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=_amount_of)
    except msgspec.MsgspecError as error:
        raise IntertieError("INVALID_ARGUMENT", f"The JSON is not as expected: {error}") from None


def _text_of(value: Any) -> str:
    if isinstance(value, Amount):
        return str(int(value))
    raise NotImplementedError(type(value))


def _amount_of(kind: type, value: Any) -> Any:
    if kind is not Amount:
        raise NotImplementedError(kind)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("an amount is a whole number of minor units")
    return Amount(value)
