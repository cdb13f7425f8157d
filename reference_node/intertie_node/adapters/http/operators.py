"""What the operator API asks of the node; `services.operators` implements it."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from intertie_node.operator_api import (
    AccountView,
    CreditRequest,
    CreditView,
    DescriptorView,
    EntryView,
    InvocationView,
    Measures,
    OfferView,
    Page,
    PeeringView,
    ProposalView,
    ProposeRequest,
    Status,
    TokenMade,
    TokenRequest,
    TrialBalance,
    WithdrawRequest,
    WithdrawView,
)


class Operators(Protocol):
    """The node as its operator sees it. All raise IntertieError with a registered reason.

    Pages: `after` is the token of the page before, "" for the first; `limit` is the most items a page.
    A peering is named by its grid, or by a prefix of its genesis; a proposal by its grid or digest likewise.
    """

    def status(self) -> Status:
        """How the node is."""
        ...

    def measures(self) -> Measures:
        """What the metrics show."""
        ...

    def descriptor(self) -> DescriptorView:
        """This grid's descriptor."""
        ...

    def peerings(self, after: str, limit: int) -> Page[PeeringView]:
        """Peerings with their links, by genesis."""
        ...

    def proposals(self, after: str, limit: int) -> Page[ProposalView]:
        """Proposals of both directions, by digest."""
        ...

    async def look(self, address: str) -> DescriptorView:
        """Ask who is at a public address. Raises: PEER_UNAVAILABLE, CERTIFICATE_MISMATCH, DESCRIPTOR_INVALID."""
        ...

    async def propose(self, request: ProposeRequest) -> ProposalView:
        """Propose a peering. Raises: as `look`, also DESCRIPTOR_INVALID if another grid is there than expected."""
        ...

    async def decide(self, proposal: str, act: str) -> ProposalView:
        """Accept or refuse an incoming proposal, withdraw an own one. Raises: NOT_FOUND, INVALID_ARGUMENT."""
        ...

    async def change(self, peering: str, act: str) -> PeeringView:
        """Suspend, resume or terminate a peering. Raises: NOT_FOUND, INVALID_ARGUMENT."""
        ...

    def accounts(self, after: str, limit: int) -> Page[AccountView]:
        """Consumer accounts by name."""
        ...

    async def create_token(self, request: TokenRequest) -> TokenMade:
        """Make a token. Raises: INVALID_ARGUMENT."""
        ...

    async def revoke_token(self, account: str) -> AccountView:
        """Revoke an account's token at once; what runs goes on. Raises: NOT_FOUND."""
        ...

    def invocations(self, account: str, states: Sequence[str], after: str, limit: int) -> Page[InvocationView]:
        """Invocations, newest first; of every caller if `account` is "", in every state if none is named."""
        ...

    def invocation(self, id: str) -> Sequence[InvocationView]:
        """The invocations that have this id, one a caller. Raises: NOT_FOUND."""
        ...

    async def cancel(self, id: str) -> Sequence[InvocationView]:
        """Ask the invocations that have this id to stop. Raises: NOT_FOUND."""
        ...

    async def credit(self, request: CreditRequest) -> CreditView:
        """Take back part of a charge. Raises: NOT_FOUND, INVALID_ARGUMENT, CREDIT_INVALID, PEER_UNAVAILABLE."""
        ...

    async def withdraw(self, request: WithdrawRequest) -> WithdrawView:
        """Take a refusal back. Raises: NOT_FOUND, INVALID_ARGUMENT, WITHDRAW_INVALID, PEER_UNAVAILABLE."""
        ...

    def balances(self) -> Sequence[TrialBalance]:
        """Trial balance of each asset."""
        ...

    def entries(self, peering: str, after: str, limit: int, last: bool) -> Page[EntryView]:
        """Both logs of a link, interleaved as they grew; with `last` the newest page."""
        ...

    def export(self, peering: str) -> AsyncIterator[bytes]:
        """The `.intertie` file of a link, piece by piece. Raises: NOT_FOUND before the first piece."""
        ...

    def offers(self, text: str, after: str, limit: int) -> Page[OfferView]:
        """A page of the catalog, best first."""
        ...
