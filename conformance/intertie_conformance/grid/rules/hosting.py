"""What a grid does for a run of the suite (RFC 0014, sections 3.4 and 3.5), and what it does not know (RFC 0013)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie_conformance.wire.agreements import Agreed
    from intertie_conformance.wire.descriptors import Described


class HostingRules:
    """Accepting, reaching, timing."""

    def accepts(self, agreed: Agreed, proposer: Described, known: Mapping[bytes, Described]) -> None:
        """Every sound proposal is accepted, whoever is known already."""

    def reaches(self, address: str) -> bool:
        """Whether a peer's address is used: any."""
        return True

    def slack_s(self) -> float:
        """Seconds by which a deadline is acted upon late."""
        return 0.0

    def redials_after_s(self) -> float:
        """Seconds between looks at links that are down."""
        return 0.2

    def transfer(self) -> Refusal:
        """Transfer is not built."""
        return Refusal("UNSUPPORTED_FEATURE", "Transfer is not built.", feature="transfer")
