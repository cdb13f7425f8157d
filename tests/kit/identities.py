"""Who a grid in a test is and what it states: keys and descriptor, limits, agreements, offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intertie import agreements, descriptors
from intertie.keys import PrivateKey
from intertie.registry import LIMITS
from intertie.v1 import link_pb2 as lk
from intertie.v1.catalog_pb2 import CHARGE_ON_USAGE, OFFER_KIND_TOOL, Offer

START = 1_900_000_000_000
PRICES = {"order": (10, 1), "llm.output.token": (1, 10)}


class Identity:
    """Keys and descriptor of a grid; the same for the same name."""

    def __init__(self, name: str) -> None:
        seed = name.encode().ljust(32, b".")[:32]
        self.grid = name
        self.root, self.key = PrivateKey.from_seed(seed), PrivateKey.from_seed(seed[::-1])
        keys = (descriptors.SigningKey(self.key.public, 0, START * 2),)
        statement = descriptors.Statement(grid=name, issued_at=1, signing_keys=keys)
        self.chain = [descriptors.issue([], statement, self.root)]
        self.descriptor = descriptors.verify_chain(self.chain)
        self.fingerprint = self.descriptor.fingerprint
        self.secret = seed

    def rotate(self, now: int, *, root: bool = False, key: bool = True, keep: bool = True) -> None:
        """A new version: with a new signing key, if asked, and root; the old key stays listed until `now`, or not."""
        seed = len(self.chain).to_bytes(1) + self.secret[1:]
        old_root, old = self.root, self.key
        self.root = PrivateKey.from_seed(seed) if root else old_root
        self.key = PrivateKey.from_seed(seed[::-1]) if key else old
        keys = [descriptors.SigningKey(self.key.public, 0, START * 2)]
        keys += [descriptors.SigningKey(old.public, 0, now)] if keep and key else []
        statement = descriptors.Statement(grid=self.grid, issued_at=now, signing_keys=tuple(keys))
        changed = old_root if root else None
        self.chain = [*self.chain, descriptors.issue(self.chain, statement, self.root, changed)]
        self.descriptor = descriptors.verify_chain(self.chain)


def limits(**changes: int) -> lk.Limits:
    """The default limits of a node."""
    values = {
        "frame_bytes": LIMITS["frame_bytes"].default,
        "inline_bytes": LIMITS["inline_bytes"].default,
        "input_bytes": LIMITS["input_bytes"].default,
        "orders": LIMITS["orders"].default,
        "hops": LIMITS["hops"].default,
    }
    return lk.Limits(**{**values, **changes})


def agreed(proposer: Identity, acceptor: Identity, **changes: Any) -> agreements.VerifiedAgreement:
    """A countersigned agreement; `credit_limit` and `max_unagreed` hold for both."""
    asset = {"asset": "XTS", "scale": 6}
    money = (changes.pop("credit_limit", 10**9), changes.pop("max_unagreed", 10**9))
    times = {"claim_window_ms": 2_000, "max_skew_ms": 1_000, "max_open_holds": 4_096, "max_hold_ms": 86_400_000}
    parties = [agreements.Party(p.fingerprint, p.grid, p.secret[:16], *money) for p in (proposer, acceptor)]
    terms = agreements.Terms(
        proposer=parties[0], acceptor=parties[1], proposed_at=START, **{**asset, **times, **changes}
    )
    sealed = agreements.propose(terms, proposer.key)
    sealed = agreements.countersign(sealed, proposer.descriptor, acceptor.descriptor, acceptor.key)
    return agreements.verify(sealed, proposer.descriptor, acceptor.descriptor)


def make_offer(origin: bytes, name: str, prices: Mapping[str, tuple[int, int]] = PRICES, **fields: Any) -> bytes:
    """Exact bytes of an offer."""
    offer = Offer(
        kind=OFFER_KIND_TOOL, name=name, asset="XTS", scale=6, origin=origin, charge_on=CHARGE_ON_USAGE, **fields
    )
    for unit in sorted(prices):
        offer.prices.add(unit=unit, num=prices[unit][0], den=prices[unit][1])
    return offer.SerializeToString(deterministic=True)
