"""Grids that break RFC 0006."""

from __future__ import annotations

from collections.abc import Collection

from intertie.v1 import agreement_pb2 as ag
from intertie.v1 import directory_pb2 as dr
from intertie.v1 import entry_pb2 as pb
from intertie_conformance.grid.account import Account
from intertie_conformance.grid.identity import Identity
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire import agreements, digests, envelope
from intertie_conformance.wire.agreements import Agreed
from intertie_conformance.wire.descriptors import Described
from intertie_conformance.wire.keys import Key
from intertie_conformance.wire.refusal import Refusal


@mutant(
    "IT-PEE-004",
    also=(
        "IT-PEE-010",
        "IT-PEE-011",
        "IT-PEE-021",
        "IT-PEE-023",
        "IT-PEE-025",
        "IT-PEE-040",
        "IT-PEE-041",
    ),
)
class CountersignsAsStranger(Rules):
    """Countersigns with a key that its descriptor does not list."""

    def countersigned(self, sealed: bytes, key: Key) -> bytes:
        return envelope.add_signature(sealed, Key())


@mutant("IT-PEE-005")
class TermsBeforeSignature(Rules):
    """Looks at the terms of an agreement before its signature."""

    def read_agreement(self, sealed: bytes, proposer: Described) -> Agreed:
        payload = envelope.peek(sealed).payload
        try:
            agreements.check(ag.Agreement.FromString(payload))
        except ValueError:
            raise Refusal("AGREEMENT_INVALID", "No agreement.", field="version") from None
        return super().read_agreement(sealed, proposer)


@mutant("IT-PEE-005")
class AnySize(Rules):
    """Takes an agreement that fits no entry."""

    def read_agreement(self, sealed: bytes, proposer: Described) -> Agreed:
        return agreements.read(sealed, proposer, None, ("size",))


@mutant("IT-PEE-006", also=("IT-PEE-020",))
class AnyTerms(Rules):
    """Does not look at windows, skew and scale."""

    def read_agreement(self, sealed: bytes, proposer: Described) -> Agreed:
        return agreements.read(sealed, proposer, None, ("claim_window_ms", "max_skew_ms", "max_hold_ms", "scale"))


@mutant("IT-PEE-006")
class AnyNonces(Rules):
    """Does not look at the nonces of an agreement."""

    def read_agreement(self, sealed: bytes, proposer: Described) -> Agreed:
        return agreements.read(sealed, proposer, None, ("proposer.nonce", "acceptor.nonce"))


@mutant("IT-PEE-006")
class NamesNoField(Rules):
    """Refuses bad terms without saying which."""

    def read_agreement(self, sealed: bytes, proposer: Described) -> Agreed:
        try:
            return super().read_agreement(sealed, proposer)
        except Refusal as refusal:
            raise Refusal(refusal.reason, refusal.message) from None


@mutant("IT-PEE-007", also=("IT-PEE-005",))
class KeysOfAnyTime(Rules):
    """Takes a proposer's signing key at any time."""

    def read_agreement(self, sealed: bytes, proposer: Described) -> Agreed:
        return agreements.read(sealed, proposer, None, ("proposed_at",))


@mutant(
    "IT-PEE-010",
    also=(
        "IT-LNK-012",
        "IT-PEE-011",
        "IT-PEE-021",
        "IT-PEE-025",
        "IT-PEE-040",
        "IT-PEE-041",
    ),
)
class HashesEnvelope(Rules):
    """Makes the genesis of the whole envelope."""

    def genesis(self, agreed: Agreed) -> bytes:
        return digests.genesis(agreed.sealed)


@mutant("IT-PEE-011")
class BeginsAgain(Rules):
    """Begins a new peering with every new envelope."""

    def knows_proposal(self, agreed: Agreed, accepted: Collection[bytes]) -> bool:
        return agreed.digest in accepted and len(envelope.peek(agreed.sealed).signatures) == 1


@mutant("IT-PEE-020")
class AnyAcceptor(Rules):
    """Does not look at whom a proposal is addressed to."""

    def proposal_mine(self, agreed: Agreed, me: Identity) -> None:
        return


@mutant(
    "IT-PEE-021",
    also=(
        "IT-PEE-004",
        "IT-PEE-023",
        "IT-PEE-040",
        "IT-PEE-041",
    ),
)
class PendingAgain(Rules):
    """Answers an accepted proposal as pending when it comes twice."""

    def answers_again(self, answer: dr.ProposeResponse) -> dr.ProposeResponse:
        self.asked = getattr(self, "asked", 0) + 1
        return answer if self.asked % 2 else dr.ProposeResponse(state=dr.PROPOSAL_STATE_PENDING)


@mutant(
    "IT-PEE-023",
    also=(
        "IT-PEE-004",
        "IT-PEE-010",
        "IT-PEE-011",
        "IT-PEE-021",
        "IT-PEE-025",
        "IT-PEE-040",
        "IT-PEE-041",
    ),
)
class SignsAlone(Rules):
    """Answers with its own signature alone."""

    def countersigned(self, sealed: bytes, key: Key) -> bytes:
        return envelope.seal(envelope.AGREEMENT, envelope.peek(sealed).payload, [key])


@mutant(
    "IT-PEE-025",
    also=(
        "IT-PEE-010",
        "IT-PEE-011",
        "IT-PEE-021",
        "IT-PEE-040",
        "IT-PEE-041",
    ),
)
class ReadyLater(Rules):
    """Takes the link a second after it has answered ACCEPTED."""

    def ready_after_s(self) -> float:
        return 1.0


@mutant("IT-PEE-040")
class UsualTerms(Rules):
    """Judges the length of a hold by its usual terms."""

    def order_length(self, account: Account, entry: pb.Entry) -> bool:
        return entry.order.deadline <= entry.at + 3_600_000


@mutant("IT-PEE-041")
class OtherScale(Rules):
    """Tells receipts in another scale."""

    def receipt_asset(self, asset: str, scale: int) -> tuple[str, int]:
        return asset, scale - 4
