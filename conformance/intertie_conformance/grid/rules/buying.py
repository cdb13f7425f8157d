"""What a payer computes (RFC 0003)."""

from __future__ import annotations

from intertie_conformance.wire import digests


class BuyingRules:
    """The payer's arithmetic."""

    def salt(self, nonce: bytes, data: bytes) -> bytes:
        """The digest of an input or output."""
        return digests.salted(nonce, data)
