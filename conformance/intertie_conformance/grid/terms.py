"""Terms of a peering as the suite proposes them (RFC 0006)."""

from __future__ import annotations

import os
from typing import Any

from intertie.v1.agreement_pb2 import Agreement
from intertie_conformance.grid import catalog
from intertie_conformance.grid.identity import Identity, now_ms
from intertie_conformance.wire import agreements
from intertie_conformance.wire.descriptors import Described


def terms(me: Identity, peer: Described, **changes: Any) -> Agreement:
    """Terms that the suite proposes: short windows, generous limits; `changes` replace fields."""
    fields: dict[str, Any] = {
        "version": 1,
        "asset": catalog.ASSET[0],
        "scale": catalog.ASSET[1],
        "suite": agreements.SUITE,
        "claim_window_ms": 1_000,
        "max_skew_ms": 1_000,
        "max_open_holds": 64,
        "max_hold_ms": 3_600_000,
        "proposed_at": now_ms(),
    }
    limits = {"credit_limit": 100_000_000, "max_unagreed": 10_000_000}
    for side, fingerprint, grid in (
        ("proposer", me.fingerprint, me.grid),
        ("acceptor", peer.fingerprint, peer.grid),
    ):
        own = {key: changes.pop(f"{side}_{key}", value) for key, value in limits.items()}
        fields[side] = {"fingerprint": fingerprint, "grid": grid, "nonce": os.urandom(16), **own}
    return Agreement(**{**fields, **changes})
