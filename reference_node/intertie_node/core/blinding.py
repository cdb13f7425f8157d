"""Who an order is for, in a name that the next grid cannot read (design §7, order; RFC 0009 §3.5, RFC 0011 §3.2).

The name follows from a secret of the node alone, so that a restored node gives the same one and still knows whom
it means. A consumer's is looked up among the accounts; an upstream order's holds link and seq in sealed form, since
upstream orders are too many to try and are forgotten before their costs are.
"""

from functools import lru_cache
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from intertie.digests import multihash
from intertie_node.core.world import World

SEQ_BYTES = 8
PREFIX = "link:"


@lru_cache(4096)
def blinded(secret: bytes, caller: str) -> str:
    """The `account` of an order that is placed for a caller: an account name, or "link:<name>:<order seq>"."""
    if not caller.startswith(PREFIX):
        return multihash(secret + b"account\0" + caller.encode())[2:18].hex()
    _, name, seq = caller.split(":")
    return _seal(secret).encrypt(bytes.fromhex(name) + int(seq).to_bytes(SEQ_BYTES, "big"), None).hex()


@lru_cache(4096)
def upstream_caller(secret: bytes, account: str) -> str:
    """The caller "link:<name>:<order seq>" behind an order's `account`, "" if it is none of this grid's making."""
    try:
        opened = _seal(secret).decrypt(bytes.fromhex(account), None)
    except (InvalidTag, ValueError):
        return ""
    name, seq = opened[:-SEQ_BYTES], int.from_bytes(opened[-SEQ_BYTES:], "big")
    return f"{PREFIX}{name.hex()}:{seq}"


def account_of(world: World, account: str) -> str:
    """The consumer behind an order's `account`, "" if it is not one of this grid's."""
    return next((name for name in world.books.accounts if blinded(world.secret, name) == account), "")


@lru_cache(16)
def _seal(secret: bytes) -> AESSIV:
    """Deterministic: the same name for the same order, and no other way to tell two orders' upstreams apart."""
    return AESSIV(sha256(secret + b"upstream\0").digest())
