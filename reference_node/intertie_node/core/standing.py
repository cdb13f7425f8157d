"""Where a route stands, and what moves it: one visible table (RFC 0008, section 3.5)."""

from collections.abc import Mapping
from enum import Enum


class Standing(Enum):
    """What a route is good for."""

    CURRENT = "current"
    """Advertised since the link opened: ordered over, and passed on."""
    EXPECTED = "expected"
    """The link is open again and its first round has not ended: tried, but not passed on."""
    FADED = "faded"
    """Withdrawn, or its link is down: no way, but what it led to stays known."""
    GONE = "gone"
    """Not kept: what it led to is unknown."""


class RouteSignal(Enum):
    """What can happen to a route."""

    NAMED = "an advertisement names it"
    OMITTED = "a round ends without it"
    LINK_LOST = "the link is down"
    LINK_OPEN = "the link is open again"
    EXPIRED = "its root or tariff has expired"
    REFUSED = "a later advertisement of its origin is refused"


_R, _S = Standing, RouteSignal
ROUTE_TABLE: Mapping[tuple[Standing, RouteSignal], Standing] = {
    (_R.CURRENT, _S.NAMED): _R.CURRENT,
    (_R.CURRENT, _S.OMITTED): _R.FADED,
    (_R.CURRENT, _S.LINK_LOST): _R.FADED,
    (_R.CURRENT, _S.LINK_OPEN): _R.CURRENT,
    (_R.CURRENT, _S.EXPIRED): _R.CURRENT,
    (_R.CURRENT, _S.REFUSED): _R.GONE,
    (_R.EXPECTED, _S.NAMED): _R.CURRENT,
    (_R.EXPECTED, _S.OMITTED): _R.FADED,
    (_R.EXPECTED, _S.LINK_LOST): _R.FADED,
    (_R.EXPECTED, _S.LINK_OPEN): _R.EXPECTED,
    (_R.EXPECTED, _S.EXPIRED): _R.EXPECTED,
    (_R.EXPECTED, _S.REFUSED): _R.GONE,
    (_R.FADED, _S.NAMED): _R.CURRENT,
    (_R.FADED, _S.OMITTED): _R.FADED,
    (_R.FADED, _S.LINK_LOST): _R.FADED,
    (_R.FADED, _S.LINK_OPEN): _R.EXPECTED,
    (_R.FADED, _S.EXPIRED): _R.GONE,
    (_R.FADED, _S.REFUSED): _R.GONE,
    (_R.GONE, _S.NAMED): _R.CURRENT,
    (_R.GONE, _S.OMITTED): _R.GONE,
    (_R.GONE, _S.LINK_LOST): _R.GONE,
    (_R.GONE, _S.LINK_OPEN): _R.GONE,
    (_R.GONE, _S.EXPIRED): _R.GONE,
    (_R.GONE, _S.REFUSED): _R.GONE,
}
"""A route that has expired is no way while it stands, whatever its standing (`placing`)."""

FADED, EXPECTED = 0, -1
"""Epochs of routes that no round of advertisements has named since their link opened."""
EPOCHS: Mapping[Standing, int] = {Standing.FADED: FADED, Standing.EXPECTED: EXPECTED}


def standing_of(epoch: int) -> Standing:
    """The standing of a route that is kept."""
    if epoch == FADED:
        return Standing.FADED
    return Standing.EXPECTED if epoch == EXPECTED else Standing.CURRENT
