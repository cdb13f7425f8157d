"""RFC 0003: what every sender keeps in whatever it says."""

from __future__ import annotations

from collections.abc import Iterator

from intertie.v1 import link_pb2 as lk
from intertie.v1.envelope_pb2 import Signature
from intertie_conformance.passive import Sight, passive
from intertie_conformance.wire import envelope
from intertie_conformance.wire.digests import TOTAL_BYTES, is_multihash


def _signatures(frame: lk.Frame) -> Iterator[lk.HeadSignature]:
    if frame.HasField("signature"):
        yield frame.signature


def _made(sight: Sight) -> list[Signature]:
    """All signatures that the target has made in a frame."""
    if sight.frame is None:
        return []
    made = [one for signature in _signatures(sight.frame) for one in signature.signatures]
    if sight.frame.open:
        try:
            made += envelope.peek(sight.frame.open).signatures
        except Exception:
            return made
    return made


@passive("IT-ENC-001")
def frames_decode(sight: Sight) -> str | None:
    """Every frame decodes."""
    return "bytes that are no frame" if sight.frame is None else ""


@passive("IT-ENC-007")
def text_is_utf8(sight: Sight) -> str | None:
    """Text is UTF-8: the bytes of a frame with text in it decode."""
    if sight.frame is None:
        return "bytes that are no frame, perhaps for a text that is not UTF-8"
    return "" if sight.frame.HasField("close") or sight.frame.events or sight.frame.advertisements else None


@passive("IT-ENC-010")
def digests_have_their_form(sight: Sight) -> str | None:
    """Fingerprints in paths are multihashes of 34 bytes."""
    if sight.frame is None or not sight.frame.advertisements:
        return None
    found = [digest for item in sight.frame.advertisements for digest in item.route.path]
    return "" if all(map(is_multihash, found)) else "a fingerprint that is no multihash"


@passive("IT-ENC-022")
def keys_are_named(sight: Sight) -> str | None:
    """Every signature names its key by the multihash of the key, as the descriptor lists it."""
    made = _made(sight)
    if not made:
        return None
    return (
        "" if all(one.key_id in sight.peer.peer_keys for one in made) else "a key id that is no key's of the descriptor"
    )


@passive("IT-ENC-030")
def open_signs_pae(sight: Sight) -> str | None:
    """What is signed in an envelope is the pre-authentication encoding."""
    if sight.frame is None or not sight.frame.open:
        return None
    try:
        envelope.signers(envelope.peek(sight.frame.open), sight.peer.peer_keys)
    except Exception as error:
        return str(error)
    return ""


@passive("IT-ENC-031")
def few_signatures(sight: Sight) -> str | None:
    """An envelope holds one to eight signatures, one a key."""
    if sight.frame is None or not sight.frame.open:
        return None
    try:
        ids = [made.key_id for made in envelope.peek(sight.frame.open).signatures]
    except Exception as error:
        return str(error)
    return "" if 1 <= len(ids) <= 8 and len(set(ids)) == len(ids) else f"{len(ids)} signatures of {len(set(ids))} keys"


@passive("IT-ENC-046")
def totals_have_16_bytes(sight: Sight) -> str | None:
    """A signed total has 16 bytes."""
    if sight.frame is None or not sight.frame.HasField("signature"):
        return None
    size = len(sight.frame.signature.agreed_total)
    return "" if size == TOTAL_BYTES else f"a total of {size} bytes"
