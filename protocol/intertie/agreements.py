"""Agreements: the countersigned terms of a peering (design §6).

The proposer fills in both sides' terms and signs; the acceptor adds its signature over the same payload
bytes. The genesis of both logs is a hash over the first version's payload, so an acceptor must refuse one
whose genesis it has known before.
"""

from __future__ import annotations

from typing import Final

import msgspec

from intertie import chain, digests, envelope
from intertie.amounts import check_amount
from intertie.descriptors import VerifiedDescriptor, signing_keys_at
from intertie.encoding import parse
from intertie.errors import IntertieError
from intertie.keys import PrivateKey, PublicKey
from intertie.names import is_asset, is_grid, is_token
from intertie.registry import LIMITS
from intertie.v1 import agreement_pb2 as pb

SUITE: Final = "sha256-ed25519"
MAX_RAILS: Final = 16
MAX_BYTES: Final = LIMITS["entry_bytes"].maximum - 64
"""Largest serialized envelope: its proposer writes it into an entry, with at most 64 bytes beside it."""
WEEK_MS: Final = 604_800_000


class Party(msgspec.Struct, frozen=True):
    """One party's terms: what it may owe at most (minor units), and how much of it without having agreed."""

    fingerprint: bytes
    grid: str
    nonce: bytes
    credit_limit: int
    max_unagreed: int


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What two grids agree on; times in milliseconds, ranges as in agreement.proto."""

    version: int = 1
    proposer: Party
    acceptor: Party
    asset: str
    scale: int
    suite: str = SUITE
    claim_window_ms: int
    max_skew_ms: int
    rails: tuple[str, ...] = ()
    max_open_holds: int
    max_hold_ms: int
    proposed_at: int
    previous: bytes = b""


class VerifiedAgreement(Terms, frozen=True, kw_only=True):
    """Terms whose signatures and ranges were verified."""

    payload: bytes
    """The exact signed bytes."""
    envelope: bytes
    """The serialized envelope as it was received."""
    countersigned: bool
    """Whether the acceptor's signature was verified too."""

    @property
    def digest(self) -> bytes:
        """Multihash of the payload: `previous` of the next version."""
        return digests.multihash(self.payload)

    @property
    def genesis(self) -> bytes:
        """head(0) of both logs, 32 bytes. Only version 1 has it: ValueError for a later one."""
        if self.version != 1:
            raise ValueError("only the first version of an agreement makes a genesis")
        return chain.genesis(self.payload)

    def party(self, fingerprint: bytes) -> Party:
        """Return the terms of the party of that fingerprint; KeyError for a stranger."""
        return {self.proposer.fingerprint: self.proposer, self.acceptor.fingerprint: self.acceptor}[fingerprint]

    def counterparty(self, fingerprint: bytes) -> Party:
        """Return the terms of the other party than that of the fingerprint; KeyError for a stranger."""
        return self.acceptor if self.party(fingerprint) is self.proposer else self.proposer


def propose(terms: Terms, key: PrivateKey) -> bytes:
    """Return the serialized envelope of `terms`, signed by one of the proposer's signing keys.

    Raises AGREEMENT_INVALID for terms out of range, AMOUNT_INVALID for amounts above 2^63-1.
    """
    check_terms(terms)
    return envelope.seal(envelope.AGREEMENT, _encode(terms).SerializeToString(deterministic=True), [key])


def verify(
    sealed: bytes, proposer: VerifiedDescriptor, acceptor: VerifiedDescriptor | None = None
) -> VerifiedAgreement:
    """Return the agreement in an envelope signed by the proposer and, if one is given, by the acceptor.

    The proposer's key must be valid at `proposed_at`, the acceptor's then or later. Raises SIGNATURE_INVALID,
    AGREEMENT_INVALID for terms out of range or other parties, INVALID_ARGUMENT for a malformed envelope.
    """
    groups = [{signing.key.key_id: signing.key for signing in proposer.signing_keys}]
    if acceptor is not None:
        groups.append({signing.key.key_id: signing.key for signing in acceptor.signing_keys})
    keys: dict[bytes, PublicKey] = {key_id: key for group in groups for key_id, key in group.items()}
    opened = envelope.unseal(sealed, envelope.AGREEMENT, keys, MAX_BYTES)
    message = parse(pb.Agreement, opened.payload, MAX_BYTES, "AGREEMENT_INVALID")
    terms = _decode(message)
    _check_signers(terms, opened.key_ids, proposer, acceptor)
    check_terms(terms)
    _check_party(terms.proposer, proposer, "proposer")
    if acceptor is not None:
        _check_party(terms.acceptor, acceptor, "acceptor")
    return VerifiedAgreement(
        **msgspec.structs.asdict(terms),
        payload=opened.payload,
        envelope=sealed,
        countersigned=acceptor is not None,
    )


def countersign(sealed: bytes, proposer: VerifiedDescriptor, acceptor: VerifiedDescriptor, key: PrivateKey) -> bytes:
    """Return the proposal with the acceptor's signature added, over the same payload bytes.

    Verifies the proposal before and the result after: raises as `verify`.
    """
    verify(sealed, proposer)
    signed = envelope.add_signature(sealed, key)
    verify(signed, proposer, acceptor)
    return signed


def check_successor(old: Terms, old_digest: bytes, new: Terms) -> None:
    """Return if `new` may follow `old`; either party may propose it.

    Raises AGREEMENT_INVALID unless it is the next version, names the payload before it, and has the same
    parties, asset, scale and suite.
    """

    def lasting(terms: Terms) -> dict[str, object]:
        parties = {(party.fingerprint, party.grid) for party in (terms.proposer, terms.acceptor)}
        return {"parties": parties, "asset": terms.asset, "scale": terms.scale, "suite": terms.suite}

    kept, wanted = lasting(new), lasting(old)
    kept |= {"version": new.version, "previous": new.previous}
    wanted |= {"version": old.version + 1, "previous": old_digest}
    for field, value in wanted.items():
        if kept[field] != value:
            raise _invalid(f"The next version's {field} must be {value!r}.", field)


def check_terms(terms: Terms) -> None:
    """Raise AGREEMENT_INVALID, naming the field, unless every term is in the range of agreement.proto.

    AMOUNT_INVALID for an amount of minor units above 2^63-1, which no agreement can state.
    """
    rules = (
        ("version", terms.version >= 1),
        ("asset", is_asset(terms.asset)),
        ("scale", 0 <= terms.scale <= 9),
        ("suite", terms.suite == SUITE),
        ("claim_window_ms", 1_000 <= terms.claim_window_ms <= WEEK_MS),
        ("max_skew_ms", 1_000 <= terms.max_skew_ms <= 300_000),
        ("rails", len(terms.rails) <= MAX_RAILS and all(map(is_token, terms.rails))),
        ("max_open_holds", 1 <= terms.max_open_holds <= 1_000_000),
        ("max_hold_ms", 1_000 <= terms.max_hold_ms <= WEEK_MS),
        ("proposed_at", terms.proposed_at >= 0),
        ("previous", digests.is_multihash(terms.previous) if terms.version > 1 else terms.previous == b""),
        ("acceptor", terms.acceptor.fingerprint != terms.proposer.fingerprint),
    )
    _require(rules)
    for side, party in (("proposer", terms.proposer), ("acceptor", terms.acceptor)):
        _require(
            (
                (f"{side}.fingerprint", digests.is_multihash(party.fingerprint)),
                (f"{side}.grid", is_grid(party.grid)),
                (f"{side}.nonce", 16 <= len(party.nonce) <= 32),
                (f"{side}.credit_limit", party.credit_limit >= 0),
                (f"{side}.max_unagreed", party.max_unagreed >= 0),
            )
        )
        check_amount(party.credit_limit)
        check_amount(party.max_unagreed)


def _require(rules: tuple[tuple[str, bool], ...]) -> None:
    """Raise AGREEMENT_INVALID for the first field whose rule does not hold."""
    for field, holds in rules:
        if not holds:
            raise _invalid(f"The agreement's {field} is out of range.", field)


def _check_signers(
    terms: Terms,
    signers: tuple[bytes, ...],
    proposer: VerifiedDescriptor,
    acceptor: VerifiedDescriptor | None,
) -> None:
    """Raise SIGNATURE_INVALID unless a valid key of each party is among the verified signers."""
    if not set(signers) & set(signing_keys_at(proposer, terms.proposed_at)):
        raise IntertieError("SIGNATURE_INVALID", "The proposer has not signed with a key valid at the time.")
    if acceptor is None:
        return
    later = {key.key.key_id for key in acceptor.signing_keys if key.not_after >= terms.proposed_at}
    if not set(signers) & later:
        raise IntertieError("SIGNATURE_INVALID", "The acceptor has not signed with a valid key.")


def _check_party(party: Party, descriptor: VerifiedDescriptor, side: str) -> None:
    """Raise AGREEMENT_INVALID unless `party` names the grid of `descriptor`."""
    if (party.fingerprint, party.grid) != (descriptor.fingerprint, descriptor.grid):
        raise _invalid(f"The agreement's {side} is not {descriptor.grid}.", side)


def _decode(message: pb.Agreement) -> Terms:
    """Return the terms that a message states, unchecked."""
    return Terms(
        version=message.version,
        proposer=_decode_party(message.proposer),
        acceptor=_decode_party(message.acceptor),
        asset=message.asset,
        scale=message.scale,
        suite=message.suite,
        claim_window_ms=message.claim_window_ms,
        max_skew_ms=message.max_skew_ms,
        rails=tuple(message.rails),
        max_open_holds=message.max_open_holds,
        max_hold_ms=message.max_hold_ms,
        proposed_at=message.proposed_at,
        previous=message.previous,
    )


def _decode_party(message: pb.Party) -> Party:
    return Party(message.fingerprint, message.grid, message.nonce, message.credit_limit, message.max_unagreed)


def _encode(terms: Terms) -> pb.Agreement:
    """Return the message that states `terms`."""
    fields = msgspec.structs.asdict(terms)
    for side in ("proposer", "acceptor"):
        fields[side] = pb.Party(**msgspec.structs.asdict(fields[side]))
    return pb.Agreement(**fields)


def _invalid(message: str, field: str) -> IntertieError:
    return IntertieError("AGREEMENT_INVALID", message, field=field)
