"""States of a peering, and what each party may do about it (design §6)."""

from collections.abc import Mapping
from enum import Enum, IntEnum

from intertie.agreements import VerifiedAgreement
from intertie.errors import IntertieError
from intertie_node.core.ledger import LinkTerms


class PeeringState(IntEnum):
    """Stored states of a peering or of a proposal for one."""

    PROPOSED = 1
    ACTIVE = 2
    SUSPENDED = 3
    TERMINATED = 4
    REFUSED = 5
    WITHDRAWN = 6


class PeeringAct(Enum):
    """What an operator, or the other grid's signature, does."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    WITHDRAW = "withdraw"
    SUSPEND = "suspend"
    RESUME = "resume"
    TERMINATE = "terminate"


_P, _A = PeeringState, PeeringAct
PEERING_TABLE: Mapping[tuple[PeeringState, PeeringAct], PeeringState | None] = {
    (_P.PROPOSED, _A.ACCEPT): _P.ACTIVE,
    (_P.PROPOSED, _A.REFUSE): _P.REFUSED,
    (_P.PROPOSED, _A.WITHDRAW): _P.WITHDRAWN,
    (_P.PROPOSED, _A.SUSPEND): None,
    (_P.PROPOSED, _A.RESUME): None,
    (_P.PROPOSED, _A.TERMINATE): None,
    (_P.ACTIVE, _A.ACCEPT): None,
    (_P.ACTIVE, _A.REFUSE): None,
    (_P.ACTIVE, _A.WITHDRAW): None,
    (_P.ACTIVE, _A.SUSPEND): _P.SUSPENDED,
    (_P.ACTIVE, _A.RESUME): None,
    (_P.ACTIVE, _A.TERMINATE): _P.TERMINATED,
    (_P.SUSPENDED, _A.ACCEPT): None,
    (_P.SUSPENDED, _A.REFUSE): None,
    (_P.SUSPENDED, _A.WITHDRAW): None,
    (_P.SUSPENDED, _A.SUSPEND): None,
    (_P.SUSPENDED, _A.RESUME): _P.ACTIVE,
    (_P.SUSPENDED, _A.TERMINATE): _P.TERMINATED,
    **{(state, act): None for state in (_P.TERMINATED, _P.REFUSED, _P.WITHDRAWN) for act in PeeringAct},
}
"""(state, act) → next state, or None where the act is refused."""


def after(state: PeeringState, act: PeeringAct) -> PeeringState:
    """The next state. Raises: IntertieError INVALID_ARGUMENT if the act is refused in this state."""
    found = PEERING_TABLE[state, act]
    if found is None:
        raise IntertieError("INVALID_ARGUMENT", f"A peering that is {state.name.lower()} cannot {act.value}.")
    return found


def link_terms(agreement: VerifiedAgreement, own: bytes) -> LinkTerms:
    """What the agreement fixes, seen from the grid with fingerprint `own` (ME first)."""
    me, them = agreement.party(own), agreement.counterparty(own)
    return LinkTerms(
        claim_window_ms=agreement.claim_window_ms,
        max_hold_ms=agreement.max_hold_ms,
        max_skew_ms=agreement.max_skew_ms,
        max_open_holds=agreement.max_open_holds,
        credit_limit=(me.credit_limit, them.credit_limit),
        max_unagreed=(me.max_unagreed, them.max_unagreed),
    )
