"""What a relay tells its other peers of an origin (RFC 0008, section 3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from intertie.v1.catalog_pb2 import Advertisement, OriginRoute
    from intertie_conformance.grid.link import Link
    from intertie_conformance.grid.routes import Route

MAX_PATH: Final = 16
SPARE: Final = 1_024
"""Bytes of a frame that a route leaves free."""


class ResellingRules:
    """Routes that are passed on."""

    def tells(self, link: Link, route: Route) -> bool:
        """Whether a peer may be told of a route at all."""
        return self.other_side(link, route) and self.loop_free(link, route)

    def other_side(self, link: Link, route: Route) -> bool:
        """Nothing goes back over the link on which it came."""
        return route.link is not link

    def loop_free(self, link: Link, route: Route) -> bool:
        """Nothing goes to a grid that stands in the path, nor by more than 16 grids."""
        return link.peer.fingerprint not in route.stated.path and len(route.stated.path) < MAX_PATH

    def still_open(self, link: Link, route: Route) -> bool:
        """Only what can be ordered now is sold on."""
        rules: Any = self
        return bool(rules.is_candidate(route, link.now()))

    def passed_on(self, route: OriginRoute) -> OriginRoute:
        """Descriptors and root go on as they came."""
        return route

    def fits_frame(self, link: Link, item: Advertisement) -> bool:
        """What no frame of the receiver holds is left out."""
        return item.ByteSize() <= link.frame_bytes - SPARE
