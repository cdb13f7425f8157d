"""Grids that break RFC 0005, sections 3.4 and 3.5: sessions and re-establishing."""

from __future__ import annotations

from intertie.v1 import link_pb2 as lk
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.grid.invocations import Asked
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.logs import Group
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire import heads
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-LNK-005")
class OneLink(Rules):
    """Keeps one link with a grid, however many peerings there are."""

    def one_link(self) -> bool:
        return True


@mutant("IT-LNK-042")
class ReturnsNothing(Rules):
    """Does not show the other side its last signature."""

    def returns_signature(self, link: Link) -> lk.Frame | None:
        return None


@mutant(
    "IT-LNK-043",
    also=("IT-LNK-045", "IT-LNK-046", "IT-LNK-047", "IT-LNK-044", "IT-LNK-048", "IT-CAT-046", "IT-LOG-021"),
)
class ResendsNothing(Rules):
    """Does not resend its own log."""

    def resends(self, link: Link, opened: lk.Open) -> list[lk.Frame]:
        return [frame for frame in super().resends(link, opened) if frame.returned]


@mutant("IT-LNK-044", also=("IT-LNK-043", "IT-LNK-045", "IT-LNK-046", "IT-LNK-047", "IT-LNK-048"))
class GivesNothingBack(Rules):
    """Does not return the other side's log."""

    def resends(self, link: Link, opened: lk.Open) -> list[lk.Frame]:
        return [frame for frame in super().resends(link, opened) if not frame.returned]


@mutant("IT-LNK-045")
class SignsAnew(Rules):
    """Signs resent groups again, as of today."""

    def resent(self, link: Link, group: Group) -> lk.Frame:
        frame = super().resent(link, group)
        frame.signature.session = bytes(32)
        heads.sign(link.genesis, frame.signature, link.me.key)
        return frame


@mutant("IT-LNK-046", also=("IT-LNK-043", "IT-LNK-044", "IT-LNK-045", "IT-LNK-047", "IT-LNK-048"))
class OneAfterTheOther(Rules):
    """Resends one log whole, then the other."""

    def resends(self, link: Link, opened: lk.Open) -> list[lk.Frame]:
        own = [g for g in link.logs.groups[ME] if g.signature.seq > opened.other.seq]
        other = [g for g in link.logs.groups[THEM] if g.signature.seq > opened.own.seq]
        return [*(self.resent(link, group) for group in own), *map(self.returned, other)]


@mutant("IT-LNK-047")
class PingsBetween(Rules):
    """Pings while it re-establishes."""

    def resends(self, link: Link, opened: lk.Open) -> list[lk.Frame]:
        return [lk.Frame(ping=3), *super().resends(link, opened)]


@mutant("IT-LNK-050", also=("IT-LNK-051",))
class OpenAtOnce(Rules):
    """Is open as soon as both Opens are known."""

    def is_complete(self, link: Link) -> bool:
        return True


@mutant("IT-LNK-051")
class SignsEarly(Rules):
    """Signs before its first opening is complete."""

    def may_sign(self, link: Link) -> bool:
        return True


@mutant("IT-LNK-052", also=("IT-LNK-041",))
class SaysNothing(Rules):
    """Does not sign in a new session unless it has something to append."""

    def signs_after_open(self) -> bool:
        return False


@mutant("IT-LNK-053")
class OnlyThisSession(Rules):
    """Takes only groups that were signed in this session."""

    def signed_session(self, link: Link, signature: lk.HeadSignature) -> None:
        if signature.session != link.session:
            raise Refusal("SIGNATURE_INVALID", "A signature belongs to another session.")


@mutant("IT-LNK-060", also=("IT-LNK-061",))
class KeepsTheOld(Rules):
    """Keeps the stream that stands, whatever comes."""

    def stays(self, dialled_by_me: bool, me_smaller: bool, is_open: bool) -> bool:
        return True


@mutant("IT-LNK-060")
class LargerStays(Rules):
    """Of two crossing streams keeps that of the larger fingerprint."""

    def stays(self, dialled_by_me: bool, me_smaller: bool, is_open: bool) -> bool:
        return dialled_by_me and not me_smaller and not is_open


@mutant("IT-LNK-048")
class InputsOnce(Rules):
    """Does not send inputs again."""

    def resends_inputs(self) -> bool:
        return False


@mutant("IT-LNK-121")
class AnyNumberOfOrders(Rules):
    """Orders as often as it is asked to."""

    def order_room(self, asked: Asked) -> None:
        return


@mutant("IT-LNK-061")
class DropsSilently(Rules):
    """Closes the superseded stream by another name."""

    def superseded(self) -> Refusal:
        return Refusal("UNEXPECTED_FRAME", "There is another stream.")


@mutant("IT-LNK-062")
class BadOpenEndsAll(Rules):
    """Ends the current stream for a bad Open on another."""

    def bad_open_ends(self) -> bool:
        return True
