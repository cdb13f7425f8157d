"""Targets that break RFC 0013: features, and what is not known."""

from __future__ import annotations

from collections.abc import Mapping

from intertie.v1 import catalog_pb2 as ct
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.catalog_pb2 import Offer
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.keys import PublicKeys
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-VER-002")
class UnknownKindIsAny(Rules):
    """Takes a kind that it does not know for none."""

    def keeps_kind(self, asked: ct.SearchRequest, item: ct.ListedOffer) -> bool:
        return asked.kind not in (1, 2, 3, 4) or super().keeps_kind(asked, item)


@mutant("IT-VER-002")
class UnknownStateIsAnEnd(Rules):
    """Takes a state that it does not know for COMPLETED."""

    def check_claim(self, hold: object, charge: pb.Charge, before: int, executor: object) -> None:
        if charge.state <= 8:
            super().check_claim(hold, charge, before, executor)  # type: ignore[arg-type]


@mutant("IT-VER-010", also=("IT-LNK-010",))
class RequiresUnnamed(Rules):
    """Requires what it does not name."""

    def own_open(self, link: Link, fields: dict[str, object]) -> Mapping[str, object]:
        return {**fields, "features": [], "required_features": ["record-batches"]}


@mutant("IT-VER-012", also=("IT-VER-002", "IT-VER-013", "IT-VER-016", "IT-VER-020", "IT-VER-021", "IT-VER-030"))
class RequiresPlanned(Rules):
    """Requires a feature that is planned."""

    def own_open(self, link: Link, fields: dict[str, object]) -> Mapping[str, object]:
        return {**fields, "features": ["settlement"], "required_features": ["settlement"]}


@mutant("IT-VER-013", also=("IT-CNF-010",))
class StreamsNothing(Rules):
    """Says of echo that it streams."""

    def own_offer(self, offer: Offer) -> Offer:
        if offer.name == "conformance/echo":
            offer.features.append("streaming")
        return offer


@mutant("IT-VER-016")
class TransferNotFound(Rules):
    """Answers Transfer as if it were built."""

    def transfer(self) -> Refusal:
        return Refusal("NOT_FOUND", "Nothing of this digest is here.")


@mutant("IT-VER-020")
class CriticalIgnored(Rules):
    """Keeps unknown critical entries without effect."""

    def unknown_kind(self, entry: pb.Entry) -> str | None:
        return None


@mutant("IT-VER-020")
class KnownKeysAlone(Rules):
    """Refuses an Open that a key has signed which it does not know."""

    def open_signed(self, sealed: bytes, keys: PublicKeys) -> bytes:
        from intertie_conformance.wire import envelope

        if any(signature.key_id not in keys for signature in envelope.peek(sealed).signatures):
            raise Refusal("SIGNATURE_INVALID", "An unknown key has signed.")
        return super().open_signed(sealed, keys)


@mutant("IT-VER-021", also=("IT-VER-020",))
class FearsUnknownFields(Rules):
    """Closes the link for a field that it does not know."""

    def frame_payload(self, data: bytes) -> lk.Frame:
        frame = super().frame_payload(data)
        size = len(data)
        frame.DiscardUnknownFields()
        if frame.ByteSize() < size:
            raise Refusal("FRAME_MALFORMED", "A frame holds an unknown field.")
        return frame


@mutant("IT-VER-030")
class NeedsRecordBatches(Rules):
    """Opens only with who names record-batches."""

    def open_features(self, opened: lk.Open, link: Link) -> None:
        if "record-batches" not in opened.features:
            raise Refusal("UNSUPPORTED_FEATURE", "Records come in batches.", feature="record-batches")
