"""All rules of a grid, one method each. A mutant is a subclass that overrides one of them."""

from __future__ import annotations

from intertie_conformance.grid.rules.buying import BuyingRules
from intertie_conformance.grid.rules.entries import EntryRules
from intertie_conformance.grid.rules.executing import ExecutingRules
from intertie_conformance.grid.rules.frames import FrameRules
from intertie_conformance.grid.rules.hosting import HostingRules
from intertie_conformance.grid.rules.invoking import InvokingRules
from intertie_conformance.grid.rules.listing import ListingRules
from intertie_conformance.grid.rules.offering import OfferingRules
from intertie_conformance.grid.rules.opening import OpeningRules
from intertie_conformance.grid.rules.passing import PassingRules
from intertie_conformance.grid.rules.paying import PayingRules
from intertie_conformance.grid.rules.peering import PeeringRules
from intertie_conformance.grid.rules.ports import PortRules
from intertie_conformance.grid.rules.proving import ProvingRules
from intertie_conformance.grid.rules.refusing import RefusingRules
from intertie_conformance.grid.rules.relaying import RelayingRules
from intertie_conformance.grid.rules.reselling import ResellingRules
from intertie_conformance.grid.rules.routing import RoutingRules
from intertie_conformance.grid.rules.selling import SellingRules
from intertie_conformance.grid.rules.speaking import SpeakingRules
from intertie_conformance.grid.rules.telling import TellingRules
from intertie_conformance.grid.rules.working import WorkingRules


class Rules(
    BuyingRules,
    OpeningRules,
    FrameRules,
    EntryRules,
    SpeakingRules,
    SellingRules,
    PeeringRules,
    InvokingRules,
    TellingRules,
    PayingRules,
    ExecutingRules,
    RefusingRules,
    RoutingRules,
    OfferingRules,
    ListingRules,
    ProvingRules,
    WorkingRules,
    HostingRules,
    ResellingRules,
    RelayingRules,
    PassingRules,
    PortRules,
):
    """The honest grid."""
