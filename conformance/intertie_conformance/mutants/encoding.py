"""Grids that break RFC 0003."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.agreement_pb2 import Agreement
from intertie_conformance.checks.encoding import ORDER
from intertie_conformance.grid.account import Hold
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.grid.invocations import Asked, Run
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.logs import Logs
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire import amounts, envelope, keys
from intertie_conformance.wire.agreements import Agreed
from intertie_conformance.wire.amounts import Price
from intertie_conformance.wire.descriptors import Described
from intertie_conformance.wire.digests import multihash
from intertie_conformance.wire.keys import Key, PublicKeys
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-ENC-001", also=("IT-ENC-005", "IT-ENC-007"))
class SaysGarbage(Rules):
    """Ends a pong by bytes that belong to nothing."""

    def own_bytes(self, frame: lk.Frame) -> bytes:
        return frame.SerializeToString() + (b"\xff" if frame.pong else b"")


@mutant("IT-ENC-007", also=("IT-ENC-*",))
class Latin1(Rules):
    """Writes the names of a path in Latin-1."""

    def own_bytes(self, frame: lk.Frame) -> bytes:
        return frame.SerializeToString().replace(b"mutant.example", b"m\xfctant.example")


@mutant("IT-ENC-002", also=("IT-ENC-003", "IT-ENC-005"))
class HashesAnew(Rules):
    """Hashes entries as it would encode them itself."""

    def heard_entry(self, data: bytes) -> bytes:
        entry = pb.Entry.FromString(data)
        entry.DiscardUnknownFields()
        return entry.SerializeToString()


@mutant("IT-ENC-003")
class ReturnsAnew(Rules):
    """Returns entries as it would encode them itself."""

    def returned_entry(self, data: bytes) -> bytes:
        entry = pb.Entry.FromString(data)
        entry.DiscardUnknownFields()
        return entry.SerializeToString()


@mutant("IT-ENC-004", also=("IT-ENC-047",))
class ActsFirst(Rules):
    """Takes entries before it looks at their signature."""

    def signed_key(self, logs: Logs, author: int, signature: lk.HeadSignature) -> None:
        return


@mutant("IT-ENC-005", also=("IT-ENC-002", "IT-ENC-003"))
class FearsFields(Rules):
    """Refuses entries with fields that it does not know."""

    def entry_payload(self, data: bytes) -> pb.Entry:
        entry = super().entry_payload(data)
        if len(entry.SerializeToString()) != len(data) or b"\xfa\x7f\x03abc" in data:
            raise Refusal("ENTRY_MALFORMED", "An entry has a field that is not known.")
        return entry


@mutant("IT-ENC-006", also=("IT-ENC-011", "IT-ENC-021", "IT-ENC-070"))
class OneNameForAll(Rules):
    """Calls every proposal that does not decode an invalid signature."""

    def read_agreement(self, sealed: bytes, proposer: Described) -> Agreed:
        try:
            return super().read_agreement(sealed, proposer)
        except Refusal as refusal:
            raise Refusal("SIGNATURE_INVALID", refusal.message) from None


@mutant("IT-ENC-009")
class ShortHeads(Rules):
    """Names heads of another length differently."""

    def signed_head(self, head: bytes, signature: lk.HeadSignature) -> None:
        if len(signature.head) != 32:
            raise Refusal("FRAME_MALFORMED", "A head has not 32 bytes.")
        super().signed_head(head, signature)


@mutant("IT-ENC-010", also=("IT-CAT-046", "IT-ENC-004", "IT-ENC-014", "IT-ENC-040", "IT-ENC-041", "IT-ENC-061"))
class BareFingerprints(Rules):
    """Writes fingerprints in paths without their prefix."""

    def own_frame(self, frame: lk.Frame) -> lk.Frame:
        for item in frame.advertisements:
            for index, digest in enumerate(item.route.path):
                item.route.path[index] = digest[2:]
        return frame


@mutant("IT-ENC-011", also=("IT-ENC-006", "IT-ENC-070"))
class AnyDigest(Rules):
    """Takes a proposer's fingerprint in any form."""

    def read_agreement(self, sealed: bytes, proposer: Described) -> Agreed:
        payload = envelope.unseal(sealed, envelope.AGREEMENT, proposer.keys())
        return Agreed(Agreement.FromString(payload), payload, sealed)


@mutant("IT-ENC-014")
class Unsalted(Rules):
    """Computes digests of outputs without the nonce."""

    def salt(self, nonce: bytes, data: bytes) -> bytes:
        return multihash(data)


@mutant("IT-ENC-020", also=("IT-ENC-006", "IT-ENC-070"))
class AnyKeyForm(Rules):
    """Calls a key of another form an invalid signature."""

    def read_chain(self, chain: Sequence[bytes]) -> Described:
        try:
            return super().read_chain(chain)
        except Refusal as refusal:
            raise Refusal("SIGNATURE_INVALID", refusal.message) from None


@mutant("IT-ENC-021")
class SmallOrder(Rules):
    """Finds a point of small order only when it verifies with it."""

    def read_agreement(self, sealed: bytes, proposer: Described) -> Agreed:
        try:
            return super().read_agreement(sealed, proposer)
        except Refusal as refusal:
            reason = "SIGNATURE_INVALID" if "small order" in refusal.message else refusal.reason
            raise Refusal(reason, refusal.message) from None


@mutant("IT-ENC-021")
class SecondEncodings(Rules):
    """Takes a second encoding of a point for another key of the same form."""

    def read_agreement(self, sealed: bytes, proposer: Described) -> Agreed:
        try:
            return super().read_agreement(sealed, proposer)
        except Refusal as refusal:
            reason = "SIGNATURE_INVALID" if "canonical" in refusal.message else refusal.reason
            raise Refusal(reason, refusal.message) from None


@mutant("IT-ENC-022", also=("IT-ENC-*", "IT-LOG-020"))
class OtherKeyId(Rules):
    """Names its key by the multihash of the bare key."""

    def own_frame(self, frame: lk.Frame) -> lk.Frame:
        for signature in frame.signature.signatures:
            signature.key_id = multihash(signature.key_id)
        return frame


@mutant("IT-ENC-023")
class Malleable(Rules):
    """Takes S modulo the group order."""

    def open_signed(self, sealed: bytes, known: PublicKeys) -> bytes:
        made = envelope.peek(sealed)
        for signature in made.signatures:
            scalar = int.from_bytes(signature.value[32:], "little") % ORDER
            signature.value = signature.value[:32] + scalar.to_bytes(32, "little")
        return super().open_signed(made.SerializeToString(), known)


@mutant("IT-ENC-030", also=("IT-ENC-*", "IT-LNK-010"))
class SignsPayload(Rules):
    """Signs the bare payload of its Opens."""

    def sign_open(self, link: Link, payload: bytes) -> bytes:
        made = envelope.peek(super().sign_open(link, payload))
        made.signatures[0].CopyFrom(link.me.key.sign(payload))
        return made.SerializeToString()


@mutant("IT-ENC-031", also=("IT-ENC-*", "IT-LNK-010"))
class SignsTwice(Rules):
    """Puts two signatures of one key into its Opens."""

    def sign_open(self, link: Link, payload: bytes) -> bytes:
        return link.me.seal_open(payload, link.me.key, link.me.key)


@mutant("IT-ENC-032")
class KeysFirst(Rules):
    """Looks at the keys of an envelope before its type."""

    def open_signed(self, sealed: bytes, known: PublicKeys) -> bytes:
        envelope.signers(envelope.peek(sealed), known)
        return super().open_signed(sealed, known)


@mutant("IT-ENC-033")
class FearsStrangers(Rules):
    """Refuses an envelope with a signature of a key that it does not know."""

    def open_signed(self, sealed: bytes, known: PublicKeys) -> bytes:
        if any(made.key_id not in known for made in envelope.peek(sealed).signatures):
            raise Refusal("SIGNATURE_INVALID", "A stranger has signed.")
        return super().open_signed(sealed, known)


@mutant("IT-ENC-034")
class OneIsEnough(Rules):
    """Is content with one right signature, whatever the others are."""

    def open_signed(self, sealed: bytes, known: PublicKeys) -> bytes:
        made = envelope.peek(sealed)
        data = envelope.pae(made.payload_type, made.payload)
        right = [s for s in made.signatures if s.key_id in known and keys.holds(known[s.key_id], s.value, data)]
        if len(right) not in (0, len(made.signatures)):
            del made.signatures[:]
            made.signatures.extend(right)
        return super().open_signed(made.SerializeToString(), known)


@mutant("IT-ENC-035", also=("IT-ENC-032",))
class AnyType(Rules):
    """Does not look at the payload type."""

    def open_signed(self, sealed: bytes, known: PublicKeys) -> bytes:
        envelope.signers(envelope.peek(sealed), known)
        return envelope.peek(sealed).payload


@mutant("IT-ENC-036", also=("IT-ENC-*",))
class CountersignsAnew(Rules):
    """Encodes the agreement anew before it signs it."""

    def countersigned(self, sealed: bytes, key: Key) -> bytes:
        message = Agreement.FromString(envelope.peek(sealed).payload)
        message.DiscardUnknownFields()
        return envelope.seal(envelope.AGREEMENT, message.SerializeToString(), [key])


@mutant("IT-ENC-040")
class RoundsOnce(Rules):
    """Rounds the sum of the lines, not each line."""

    def charge_amount(self, hold: Hold, usage: Mapping[str, int]) -> int:
        from fractions import Fraction
        from math import ceil

        return ceil(sum(Fraction(usage.get(unit, 0) * num, den) for unit, num, den in hold.prices))


@mutant("IT-ENC-041")
class Floats(Rules):
    """Computes with floats where numbers are large."""

    def charge_amount(self, hold: Hold, usage: Mapping[str, int]) -> int:
        from math import ceil

        large = max(usage.values(), default=0) > 2**53
        exact = super().charge_amount(hold, usage)
        return sum(ceil(usage.get(unit, 0) * num / den) for unit, num, den in hold.prices) if large else exact


@mutant("IT-ENC-042")
class Wraps(Rules):
    """Computes prices modulo 2^63."""

    def priced(self, offer: Offered, tariff: pb.Tariff) -> list[Price] | None:
        lines = amounts.under_tariff(offer.prices, tariff.markup_num, tariff.markup_den, tariff.fee)
        return [(unit, num % 2**63, den % 2**63 or 1) for unit, num, den in lines]


@mutant("IT-ENC-045", also=("IT-ENC-042",))
class ForgetsFee(Rules):
    """Leaves the fee out of its orders."""

    def priced(self, offer: Offered, tariff: pb.Tariff) -> list[Price] | None:
        return amounts.under_tariff(offer.prices, tariff.markup_num, tariff.markup_den, 0)


@mutant("IT-ENC-046", also=("IT-ENC-*", "IT-LOG-020"))
class ShortTotal(Rules):
    """Writes a total of 8 bytes."""

    def own_frame(self, frame: lk.Frame) -> lk.Frame:
        if frame.HasField("signature"):
            frame.signature.agreed_total = frame.signature.agreed_total[8:]
        return frame


@mutant("IT-ENC-047")
class AnyTotalSize(Rules):
    """Reads totals of any length."""

    def signed_key(self, logs: Logs, author: int, signature: lk.HeadSignature) -> None:
        if len(signature.agreed_total) == 16:
            super().signed_key(logs, author, signature)


@mutant("IT-ENC-060")
class UpperCase(Rules):
    """Writes ids in upper case."""

    def order_fields(self, run: Run, fields: dict[str, object]) -> dict[str, object]:
        return {**fields, "id": str(fields["id"]).upper()}


@mutant("IT-ENC-061")
class AnyCallId(Rules):
    """Takes calls with any id."""

    def id_form(self, asked: Asked) -> None:
        return


@mutant("IT-ENC-070", also=("IT-ENC-020",))
class AnyName(Rules):
    """Calls a name of another form an invalid argument."""

    def read_chain(self, chain: Sequence[bytes]) -> Described:
        try:
            return super().read_chain(chain)
        except Refusal as refusal:
            raise Refusal("INVALID_ARGUMENT", refusal.message) from None
