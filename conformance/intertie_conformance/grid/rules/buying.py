"""What a payer computes (RFC 0003)."""

from __future__ import annotations

from collections.abc import Sequence

from intertie_conformance.wire import digests
from intertie_conformance.wire.amounts import Price
from intertie_conformance.wire.refusal import Refusal


class BuyingRules:
    """The payer's arithmetic."""

    def price_fits(self, prices: Sequence[Price] | None) -> None:
        """Prices under a tariff that cannot be stated (None) exceed 2^63 - 1."""
        if prices is None:
            raise Refusal("AMOUNT_OVERFLOW", "A price under this tariff exceeds 2^63 - 1.")

    def salt(self, nonce: bytes, data: bytes) -> bytes:
        """The digest of an input or output."""
        return digests.salted(nonce, data)
