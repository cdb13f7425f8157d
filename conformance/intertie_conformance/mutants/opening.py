"""Grids that break RFC 0005, sections 3.1 to 3.5: the Open and re-establishing."""

from __future__ import annotations

from collections.abc import Mapping

from intertie.v1 import link_pb2 as lk
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire import digests, envelope
from intertie_conformance.wire.keys import PublicKeys
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-LNK-010", also=("IT-ENC-022", "IT-ENC-030"))
class SignsOpenWithRoot(Rules):
    """Signs its Open with the root key."""

    def sign_open(self, link: Link, payload: bytes) -> bytes:
        return link.me.seal_open(payload, link.me.root)


@mutant("IT-LNK-011")
class SameNonce(Rules):
    """Uses one nonce for all its Opens."""

    def own_open(self, link: Link, fields: dict[str, object]) -> Mapping[str, object]:
        return {**fields, "nonce": b"the same nonce again"}


@mutant("IT-LNK-012")
class WrongCursor(Rules):
    """Names a head in its Open that is not that of its log."""

    def own_open(self, link: Link, fields: dict[str, object]) -> Mapping[str, object]:
        own = fields["own"]
        assert isinstance(own, lk.Cursor)
        return {**fields, "own": lk.Cursor(seq=own.seq, head=bytes(32))}


@mutant("IT-LNK-013")
class LimitOutOfRange(Rules):
    """Declares that it takes frames of 1 KiB."""

    def own_limits(self) -> lk.Limits:
        limits = super().own_limits()
        limits.frame_bytes = 1_024
        return limits


@mutant("IT-LNK-015")
class NoDescriptors(Rules):
    """Leaves its descriptor chain out of the Open."""

    def own_open(self, link: Link, fields: dict[str, object]) -> Mapping[str, object]:
        return {**fields, "descriptors": []}


@mutant("IT-LNK-020")
class TakesBareEnvelope(Rules):
    """Reads an Open before it looks at its envelope."""

    def open_payload(self, payload: bytes) -> lk.Open:
        try:
            return super().open_payload(payload)
        except Refusal:
            raise Refusal("UNKNOWN_GENESIS", "This is no Open of a peering here.") from None


@mutant("IT-LNK-021")
class TakesPingFirst(Rules):
    """Closes a stream that does not begin with an Open without the right name."""

    def first_frame(self, frame: lk.Frame) -> None:
        if not frame.open:
            raise Refusal("FRAME_MALFORMED", "This is no Open.")


@mutant("IT-LNK-022")
class AnyPeersGenesis(Rules):
    """Lets one peer open the link of another."""

    def link_named(self, opened: lk.Open, fingerprint: bytes, links: Mapping[bytes, Link]) -> Link:
        if opened.genesis not in links:
            raise Refusal("UNKNOWN_GENESIS", "No peering has that genesis.")
        return links[opened.genesis]


@mutant("IT-LNK-023")
class ClockLast(Rules):
    """Checks the clock of an Open after everything else."""

    OPEN_RULES = (
        "open_genesis",
        "open_nonce",
        "open_heads",
        "open_features",
        "open_limits",
        "open_cursors",
        "open_clock",
    )


@mutant("IT-LNK-024")
class IgnoresSecondOpen(Rules):
    """Takes a second Open on one stream as a wish to begin again."""

    def second_open(self) -> None:
        return


@mutant("IT-LNK-025")
class OpenWithCompany(Rules):
    """Takes an Open that shares its frame."""

    def open_alone(self, frame: lk.Frame) -> None:
        return


@mutant("IT-LNK-026")
class UnsignedOpen(Rules):
    """Does not verify the signature of an Open."""

    def open_signed(self, sealed: bytes, keys: PublicKeys) -> bytes:
        return envelope.peek(sealed).payload


@mutant("IT-LNK-027")
class AnyNonce(Rules):
    """Takes a nonce of any length."""

    def open_nonce(self, opened: lk.Open, link: Link) -> None:
        return


@mutant("IT-LNK-027")
class AnyHead(Rules):
    """Takes heads of any length."""

    def open_heads(self, opened: lk.Open, link: Link) -> None:
        return


@mutant("IT-LNK-028")
class AnyFeature(Rules):
    """Opens without a feature that the other side requires."""

    def open_features(self, opened: lk.Open, link: Link) -> None:
        return


@mutant("IT-LNK-029")
class AnyClock(Rules):
    """Opens whatever the other side's clock says."""

    def open_clock(self, opened: lk.Open, link: Link) -> None:
        return


@mutant("IT-LNK-030")
class AnyLimits(Rules):
    """Takes limits below the least."""

    def open_limits(self, opened: lk.Open, link: Link) -> None:
        return


@mutant("IT-LNK-031")
class AnyCursor(Rules):
    """Does not compare heads at the cursors."""

    def open_cursors(self, opened: lk.Open, link: Link) -> None:
        return


@mutant("IT-LNK-032")
class FearsFeatures(Rules):
    """Refuses features that it does not know, though they are not required."""

    def open_features(self, opened: lk.Open, link: Link) -> None:
        for name in (*opened.features, *opened.required_features):
            if name != "record-batches":
                raise Refusal("UNSUPPORTED_FEATURE", "A feature is not known.", feature=name)


@mutant("IT-LNK-040", also=("IT-LNK-*",))
class ForeignGenesis(Rules):
    """Answers an Open with one for another peering."""

    def own_open(self, link: Link, fields: dict[str, object]) -> Mapping[str, object]:
        return {**fields, "genesis": bytes(32)}


@mutant("IT-LNK-041", also=("IT-LNK-*",))
class SwappedSession(Rules):
    """Hashes the acceptor's Open first."""

    def session(self, dialled: bool, mine: bytes, theirs: bytes) -> bytes:
        return digests.session(theirs, mine) if dialled else digests.session(mine, theirs)
