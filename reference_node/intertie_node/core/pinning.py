"""What is pinned of a peer: its descriptor chain, and what may follow it (design §6)."""

from collections.abc import Sequence

from msgspec import Struct

from intertie.descriptors import VerifiedDescriptor, check_update, signing_keys_at, verify_chain, verify_history
from intertie.errors import IntertieError
from intertie_node.core.pair import Keys


class PeerSide(Struct, frozen=True):
    """What is known of the other grid of a link."""

    descriptor: VerifiedDescriptor
    chain: tuple[bytes, ...]
    keys: Keys
    """Keys of every version, by key id: what was signed before a rotation still verifies."""

    @property
    def fingerprint(self) -> bytes:
        """Multihash of its first root key."""
        return self.descriptor.fingerprint

    @property
    def grid(self) -> str:
        """Its name."""
        return self.descriptor.grid

    def current(self, now: int, skew: int) -> Keys:
        """Keys that may sign in a session that opens now: those of the newest version, by either side's clock."""
        return {**signing_keys_at(self.descriptor, now - skew), **signing_keys_at(self.descriptor, now + skew)}


def pinned(chain: Sequence[bytes]) -> PeerSide:
    """A peer by its descriptor chain. Raises: IntertieError as `verify_chain`."""
    past = verify_history(chain)
    keys = {signing.key.key_id: signing.key for signing in past.signing_keys}
    return PeerSide(verify_chain(chain), tuple(chain), keys)


def successor(known: PeerSide, chain: Sequence[bytes], version: int) -> PeerSide | None:
    """What a peer that states `version` and `chain` has become, None if that is known.

    Raises: IntertieError DESCRIPTOR_ROLLBACK, DESCRIPTOR_EQUIVOCATION, DESCRIPTOR_INVALID, and as `verify_chain`.
    """
    if not chain or tuple(chain) == known.chain:
        stated = known
    else:
        stated = pinned(chain)
        check_update(known.descriptor, stated.descriptor)
    if version != stated.descriptor.version:
        raise IntertieError(
            "DESCRIPTOR_INVALID",
            f"The Open states version {version} of the descriptor and carries {stated.descriptor.version}.",
            version=str(version),
            field="descriptor_version",
        )
    return None if stated.descriptor.version == known.descriptor.version else stated
