"""What a grid shows to strangers: keys, endpoints, what its ports serve (RFC 0002, RFC 0015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from intertie_conformance.grid.identity import Identity


class PortRules:
    """Ports and keys."""

    def own_keys(self, me: Identity) -> None:
        """Root, signing and TLS keys are different ones, as they were made."""

    def own_endpoints(self, public: str, peer: str) -> tuple[str, str]:
        """Both ports stand in the descriptor."""
        return public, peer

    def links_in_public(self) -> bool:
        """Whether links are served on the public port too: never."""
        return False

    async def front(self, me: Identity, public: str) -> str:
        """The address at which strangers are served: the public port itself."""
        return public
