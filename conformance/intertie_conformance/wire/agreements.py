"""Agreements: proposing, countersigning and reading them (RFC 0006)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from intertie.v1 import agreement_pb2 as pb
from intertie_conformance.wire import digests, envelope, names
from intertie_conformance.wire.descriptors import Described
from intertie_conformance.wire.keys import Key
from intertie_conformance.wire.refusal import Refusal, decode

SUITE: Final = "sha256-ed25519"
WEEK_MS: Final = 604_800_000
MAX_BYTES: Final = 65_472
"""An agreement is the first entry of both logs, which has at most 65,536."""


class Agreed(NamedTuple):
    """A verified agreement."""

    message: pb.Agreement
    payload: bytes
    sealed: bytes

    @property
    def genesis(self) -> bytes:
        """head(0) of both logs."""
        return digests.genesis(self.payload)

    @property
    def digest(self) -> bytes:
        """Multihash of the payload."""
        return digests.multihash(self.payload)

    def party(self, fingerprint: bytes) -> pb.Party:
        """The terms of one side."""
        proposer = self.message.proposer
        return proposer if proposer.fingerprint == fingerprint else self.message.acceptor


def propose(message: pb.Agreement, key: Key) -> bytes:
    """The envelope of a proposal."""
    return envelope.seal(envelope.AGREEMENT, message.SerializeToString(deterministic=True), [key])


def read(sealed: bytes, proposer: Described, acceptor: Described | None = None, skip: Collection[str] = ()) -> Agreed:
    """The agreement in an envelope that the proposer and, if one is given, the acceptor has signed.

    `skip` names what a mutant leaves out: fields whose rules it does not know, or "size".

    Raises: Refusal SIGNATURE_INVALID, AGREEMENT_INVALID, INVALID_ARGUMENT.
    """
    if len(sealed) > MAX_BYTES and "size" not in skip:
        raise Refusal("INVALID_ARGUMENT", f"An agreement's envelope has {len(sealed)} bytes.")
    keys = proposer.keys() | (acceptor.keys() if acceptor else {})
    payload = envelope.unseal(sealed, envelope.AGREEMENT, keys)
    signed = set(envelope.signers(envelope.peek(sealed), keys))
    message = decode(pb.Agreement, payload, "AGREEMENT_INVALID")
    if "proposed_at" not in skip and not signed & set(proposer.keys(message.proposed_at)):
        raise Refusal("SIGNATURE_INVALID", "The proposer has not signed the agreement.")
    if acceptor is not None and not signed & set(acceptor.keys()):
        raise Refusal("SIGNATURE_INVALID", "The acceptor has not signed the agreement.")
    check(message, skip)
    for side, party, described in (
        ("proposer", message.proposer, proposer),
        ("acceptor", message.acceptor, acceptor),
    ):
        if described and (party.fingerprint, party.grid) != (described.fingerprint, described.grid):
            raise Refusal("AGREEMENT_INVALID", f"The {side} is another grid.", field=side)
    return Agreed(message, payload, sealed)


def check(message: pb.Agreement, skip: Collection[str] = ()) -> None:
    """Check the ranges of the terms. Raises: Refusal AGREEMENT_INVALID naming the field."""
    rules: list[tuple[str, bool]] = [
        ("version", message.version >= 1),
        ("asset", names.is_asset(message.asset)),
        ("scale", message.scale <= 9),
        ("suite", message.suite == SUITE),
        ("claim_window_ms", 1_000 <= message.claim_window_ms <= WEEK_MS),
        ("max_skew_ms", 1_000 <= message.max_skew_ms <= 300_000),
        ("max_open_holds", 1 <= message.max_open_holds <= 1_000_000),
        ("max_hold_ms", 1_000 <= message.max_hold_ms <= WEEK_MS),
        ("rails", len(message.rails) <= 16 and all(map(names.is_token, message.rails))),
        ("proposed_at", message.proposed_at >= 0),
        ("previous", bool(message.previous) == (message.version > 1)),
        ("acceptor", message.proposer.fingerprint != message.acceptor.fingerprint),
    ]
    for side, party in (("proposer", message.proposer), ("acceptor", message.acceptor)):
        rules += [
            (f"{side}.fingerprint", digests.is_multihash(party.fingerprint)),
            (f"{side}.nonce", 16 <= len(party.nonce) <= 32),
            (f"{side}.credit_limit", party.credit_limit >= 0),
            (f"{side}.max_unagreed", party.max_unagreed >= 0),
        ]
    for field, good in rules:
        if not good and field not in skip:
            raise Refusal("AGREEMENT_INVALID", f"The agreement's {field} is out of range.", field=field)
