"""The descriptor chain that states a grid's keys, certificates and addresses (design §6).

A new version follows when a start finds something changed, or when the operator rotates keys. What a rotation
replaces stays listed: the old certificate beside the new one, the old signing key until the rotation.
"""

from collections.abc import Sequence

import msgspec
from cryptography import x509
from msgspec import Struct

from intertie import envelope
from intertie.descriptors import SigningKey, Statement, VerifiedDescriptor, issue, verify_chain
from intertie.keys import PrivateKey
from intertie.v1.agreement_pb2 import Agreement
from intertie_node.config import Config
from intertie_node.core.effects import Effects
from intertie_node.core.ledger import ME
from intertie_node.core.link_rows import Stored
from intertie_node.ports import Store
from intertie_node.services.identity import Identity

DAY_MS = 86_400_000
SIGNING_KEY_DAYS = 365
RETIRED_KEY_DAYS = 30
"""How long a replaced signing key stays listed, so that records which it proved still verify."""
MAX_RETIRED_KEYS = 7


class Facts(Struct, frozen=True):
    """What the configuration says of the grid."""

    grid: str
    place: str
    public: str
    peer: str


def facts(config: Config) -> Facts:
    """Name, place and addresses of a configuration."""
    listen = config.listen
    public, peer = str(listen.advertise_public or listen.public), str(listen.advertise_peer or listen.peer)
    return Facts(config.grid.name, config.grid.place, public, peer)


def stored_chain(store: Store) -> list[bytes]:
    """The chain of this grid's descriptors, empty before the first start."""
    row = store.row("settings", ("descriptors",))
    return msgspec.msgpack.decode(row[1], type=list[bytes]) if row else []


def keep_chain(store: Store, chain: Sequence[bytes], now: int) -> None:
    """Make a grown chain durable (blocking). Raises: StoreFailure."""
    fx = Effects(now)
    fx.changes.put("settings", ("descriptors",), ("descriptors", msgspec.msgpack.encode(list(chain))))
    store.commit(fx.changes)


def stating_time(store: Store, now: int) -> int:
    """When a new version is stated: now, but no earlier than what the grid's keys have signed (ms since the epoch).

    A replaced key is listed until then, and the clock may have been set back since it signed.
    """
    written = [msgspec.msgpack.decode(state, type=Stored).logs[ME][3] for _, state in store.all_rows("links")]
    sealed = [row[4] for row in store.all_rows("peerings")] + [row[5] for row in store.all_rows("proposals")]
    agreed = [Agreement.FromString(envelope.peek_unverified(each)[1]).proposed_at for each in sealed]
    return max([now, *written, *agreed])


def describe(identity: Identity, stated: Facts, chain: Sequence[bytes], now: int) -> list[bytes]:
    """The chain that states this identity: `chain` itself if its last version says the same.

    `now` is milliseconds since the Unix epoch. Raises: IntertieError DESCRIPTOR_INVALID or SIGNATURE_INVALID if
    the chain is not this identity's.
    """
    known = verify_chain(chain) if chain else None
    statement = _statement(identity, stated, known, now)
    if known is not None and _same(known, statement):
        return list(chain)
    return [*chain, issue(chain, statement, identity.root)]


def grown(identity: Identity, stated: Facts, chain: Sequence[bytes], now: int, old_root: PrivateKey) -> list[bytes]:
    """The chain with one more version, after a rotation from `old_root`'s time. Raises: as `describe`."""
    statement = _statement(identity, stated, verify_chain(chain), now)
    changed = old_root if old_root.public != identity.root.public else None
    return [*chain, issue(chain, statement, identity.root, changed)]


def _statement(identity: Identity, stated: Facts, known: VerifiedDescriptor | None, now: int) -> Statement:
    return Statement(
        grid=stated.grid,
        issued_at=now,
        signing_keys=(_present(identity, known, now), *_retired(identity, known, now)),
        certificates=(identity.certificate, *_overlapping(identity, now)),
        public_endpoints=(stated.public,),
        peer_endpoints=(stated.peer,),
        place=stated.place,
    )


def _present(identity: Identity, known: VerifiedDescriptor | None, now: int) -> SigningKey:
    """The signing key as it is listed, renewed once half of its life has passed."""
    half = now + SIGNING_KEY_DAYS * DAY_MS // 2
    listed = (k for k in (known.signing_keys if known else ()) if k.key == identity.signing.public)
    fresh = SigningKey(identity.signing.public, now - DAY_MS, now + SIGNING_KEY_DAYS * DAY_MS)
    return next((k for k in listed if k.not_after > half), fresh)


def _retired(identity: Identity, known: VerifiedDescriptor | None, now: int) -> list[SigningKey]:
    """Earlier keys, valid for what was signed until now, while somebody may still meet that."""
    others = [k for k in (known.signing_keys if known else ()) if k.key != identity.signing.public]
    kept = [k for k in others if k.not_after > now - RETIRED_KEY_DAYS * DAY_MS]
    return [SigningKey(k.key, min(k.not_before, now), min(k.not_after, now)) for k in kept][:MAX_RETIRED_KEYS]


def _overlapping(identity: Identity, now: int) -> tuple[bytes, ...]:
    return (identity.previous[1],) if identity.previous and lasts(identity.previous[1], now) else ()


def lasts(certificate: bytes, now: int) -> bool:
    """Whether a certificate (DER) has not expired."""
    return x509.load_der_x509_certificate(certificate).not_valid_after_utc.timestamp() * 1_000 > now


def _same(known: VerifiedDescriptor, statement: Statement) -> bool:
    """Whether a start has nothing new to state; that a retired key might be dropped is nothing new."""
    fields = ("grid", "place", "certificates", "public_endpoints", "peer_endpoints")
    return statement.signing_keys[0] in known.signing_keys and all(
        getattr(known, name) == getattr(statement, name) for name in fields
    )
