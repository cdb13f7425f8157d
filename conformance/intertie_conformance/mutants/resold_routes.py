"""Relays that break RFC 0008, section 3.5: what is told of the origins of others."""

from __future__ import annotations

from intertie.v1.catalog_pb2 import Advertisement, OriginRoute
from intertie.v1.envelope_pb2 import Envelope
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.routes import Route
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant


@mutant("IT-CAT-037")
class EncodesAgain(Rules):
    """Encodes a root's envelope again."""

    def passed_on(self, route: OriginRoute) -> OriginRoute:
        envelope = Envelope.FromString(route.root)
        envelope.DiscardUnknownFields()
        route.root = envelope.SerializeToString()
        return route


@mutant("IT-CAT-043")
class TellsThePath(Rules):
    """Advertises an origin to a grid in the path to it."""

    def loop_free(self, link: Link, route: Route) -> bool:
        return len(route.stated.path) < 16


@mutant("IT-CAT-043")
class AnyLength(Rules):
    """Advertises origins by paths of any length."""

    def loop_free(self, link: Link, route: Route) -> bool:
        return link.peer.fingerprint not in route.stated.path


@mutant("IT-CAT-044")
class TellsBack(Rules):
    """Advertises an origin back to where it came from."""

    def tells(self, link: Link, route: Route) -> bool:
        return route.link is link or super().tells(link, route)


@mutant("IT-CAT-045", also=("IT-CAT-068",))
class SellsWhatIsDown(Rules):
    """Advertises what cannot be ordered now."""

    def still_open(self, link: Link, route: Route) -> bool:
        return True


@mutant("IT-CAT-068", also=("IT-CAT-063",))
class RemembersRoutes(Rules):
    """Advertises what a link led to before it was down."""

    def down_withdraws(self) -> bool:
        return False


@mutant("IT-CAT-047")
class AnySize(Rules):
    """Advertises routes of any size."""

    def fits_frame(self, link: Link, item: Advertisement) -> bool:
        return True


@mutant("IT-CAT-093")
class PassesBack(Rules):
    """Passes an order on over the link on which it came."""

    def other_link(self, source: Link, route: Route) -> bool:
        return True
