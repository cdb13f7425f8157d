"""RFC 0004: descriptor chains, updates, certificates, and whom the target takes for whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from intertie.v1 import descriptor_pb2 as ds
from intertie.v1 import directory_pb2 as dr
from intertie_conformance.checks import check
from intertie_conformance.checks.peering import expect_refusal, propose, sealed_terms, sound
from intertie_conformance.grid.identity import Identity, now_ms
from intertie_conformance.roles import ordering
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import certificates, descriptors, envelope
from intertie_conformance.wire.digests import multihash
from intertie_conformance.wire.keys import Key
from intertie_conformance.wire.refusal import Refusal
from intertie_conformance.wire.status import Said

Change = Callable[[ds.Descriptor], object]


def version(chain: Sequence[bytes], message: ds.Descriptor, *keys: Key, **changes: Any) -> bytes:
    """A descriptor that follows a chain, but for the changes, signed by exactly these keys."""
    message.version, message.root_key = len(chain) + 1, keys[-1].spki
    message.previous = multihash(envelope.peek(chain[-1]).payload) if chain else b""
    for name, value in changes.items():
        setattr(message, name, value)
    return envelope.seal(envelope.DESCRIPTOR, message.SerializeToString(deterministic=True), keys)


async def bad_chain(stage: Stage, me: Identity, chain: Sequence[bytes], reason: str, what: str) -> None:
    """A chain that must be refused by name, under a sound agreement."""
    await expect_refusal(stage, chain, sealed_terms(stage, me), reason, what=what)


async def taken(stage: Stage, me: Identity, what: str) -> None:
    """A grid whose proposal is taken."""
    answer = await propose(stage, me.chain, sealed_terms(stage, me))
    if isinstance(answer, Said) or answer.state not in (dr.PROPOSAL_STATE_PENDING, dr.PROPOSAL_STATE_ACCEPTED):
        fail(f"pending or accepted: {what}", answer)
    stage.saw(f"taken: {what}")


# -- chains ---------------------------------------------------------------------------------------


@check("IT-IDN-012", role="stranger", refusal=True)
async def steps_of_chain(stage: Stage) -> None:
    """Of two faults in a descriptor the one of the earlier step names the reason."""
    await sound(stage)
    me = stage.peerings.identity()
    await bad_chain(stage, me, [b"\xff" * 9], "INVALID_ARGUMENT", "no envelope")
    wrong = envelope.seal(envelope.OPEN, envelope.peek(me.chain[0]).payload, [Key()])
    await bad_chain(stage, me, [wrong], "INVALID_ARGUMENT", "another type, a stranger's signature")
    undecodable = envelope.seal(envelope.DESCRIPTOR, b"\xff\xff", [Key()])
    await bad_chain(stage, me, [undecodable], "DESCRIPTOR_INVALID", "a payload that does not decode, a stranger's key")
    rootless = version([], me.statement(), Key(), root_key=b"short")
    await bad_chain(stage, me, [rootless], "DESCRIPTOR_INVALID", "a root key that is none, a stranger's signature")
    unsigned = version([], me.statement(), Key(), root_key=me.root.spki, version=7)
    await bad_chain(stage, me, [unsigned], "SIGNATURE_INVALID", "a stranger's signature, version 7")
    placed = version([], me.statement(), Key(), root_key=me.root.spki, place="nowhere")
    await bad_chain(stage, me, [placed], "SIGNATURE_INVALID", "a stranger's signature, a bad place")


@check("IT-IDN-013", role="stranger", refusal=True)
async def length_of_chain(stage: Stage) -> None:
    """A chain of no descriptor, or of 257, is refused with DESCRIPTOR_INVALID."""
    await sound(stage)
    me = stage.peerings.identity()
    await bad_chain(stage, me, [], "DESCRIPTOR_INVALID", "no descriptor")
    statement, chain = me.statement(), list(me.chain)
    del statement.certificates[:]
    while len(chain) < 257:
        chain.append(version(chain, statement, me.root))
    await bad_chain(stage, me, chain, "DESCRIPTOR_INVALID", "257 descriptors")


@check("IT-IDN-014", role="stranger", refusal=True)
async def signers_of_chain(stage: Stage) -> None:
    """A descriptor without the signature of its own root key, or of the one before, is SIGNATURE_INVALID."""
    await sound(stage)
    me, new = stage.peerings.identity(), Key()
    first = version([], me.statement(), me.key, root_key=me.root.spki)
    await bad_chain(stage, me, [first], "SIGNATURE_INVALID", "version 1 signed by the signing key")
    both = version(me.chain, me.statement(), me.root, new)
    only_new = version(me.chain, me.statement(), new)
    only_old = version(me.chain, me.statement(), me.root, root_key=new.spki)
    await bad_chain(stage, me, [*me.chain, only_new], "SIGNATURE_INVALID", "signed by the new root alone")
    await bad_chain(stage, me, [*me.chain, only_old], "SIGNATURE_INVALID", "signed by the old root alone")
    me.chain = [*me.chain, both]
    await taken(stage, me, "a new root, signed by both")


@check("IT-IDN-015", role="stranger", refusal=True)
async def links_of_chain(stage: Stage) -> None:
    """Chains that start late, have a gap, say a version twice, or are not linked are DESCRIPTOR_INVALID."""
    await sound(stage)
    me = stage.peerings.identity()
    one = me.chain[0]
    two = version([one], me.statement(), me.root)
    three = version([one, two], me.statement(), me.root)
    unlinked = version([one], me.statement(), me.root, previous=multihash(b"another"))
    rooted = version([], me.statement(), me.root, previous=multihash(b"something"))
    for chain, what in (
        ([two], "it starts at version 2"),
        ([one, three], "version 2 is missing"),
        ([one, two, two], "version 2 twice"),
        ([one, unlinked], "another previous"),
        ([rooted], "a previous in version 1"),
    ):
        await bad_chain(stage, me, chain, "DESCRIPTOR_INVALID", what)


@check("IT-IDN-016", role="stranger", refusal=True)
async def name_of_chain(stage: Stage) -> None:
    """A chain in which the grid's name changes is refused with DESCRIPTOR_INVALID."""
    await sound(stage)
    me = stage.peerings.identity()
    renamed = version(me.chain, me.statement(), me.root, grid=f"x{me.grid}")
    await bad_chain(stage, me, [*me.chain, renamed], "DESCRIPTOR_INVALID", "another name in version 2")


@check("IT-IDN-017", role="stranger", refusal=True)
async def unknown_keys(stage: Stage) -> None:
    """A signing key of an unknown algorithm is left out; a descriptor with no other is DESCRIPTOR_INVALID."""
    await sound(stage)
    me, unknown = stage.peerings.identity(), stage.random.randbytes(91)
    statement = me.statement()
    statement.signing_keys[0].public_key = unknown
    alone = version([], statement, me.root)
    await bad_chain(stage, me, [alone], "DESCRIPTOR_INVALID", "no signing key of a known algorithm")
    statement = me.statement()
    statement.signing_keys.add(public_key=unknown, not_before=1, not_after=2)
    me.chain = [version([], statement, me.root)]
    await taken(stage, me, "an unknown key beside a known one")


def _keys(message: ds.Descriptor, count: int) -> None:
    del message.signing_keys[:]
    for _ in range(count):
        message.signing_keys.add(public_key=Key().spki, not_before=1, not_after=2**60)


def _ends(message: ds.Descriptor, *addresses: str) -> None:
    for address in addresses:
        message.endpoints.add(kind=ds.ENDPOINT_KIND_PUBLIC, address=address)


BAD_FIELDS: dict[str, Change] = {
    "an upper-case name": lambda m: setattr(m, "grid", m.grid.upper()),
    "no name": lambda m: setattr(m, "grid", ""),
    "issued_at below 0": lambda m: setattr(m, "issued_at", -1),
    "no signing key": lambda m: _keys(m, 0),
    "nine signing keys": lambda m: _keys(m, 9),
    "one signing key twice": lambda m: m.signing_keys.add().CopyFrom(m.signing_keys[0]),
    "not_before below 0": lambda m: setattr(m.signing_keys[0], "not_before", -1),
    "not_after before not_before": lambda m: setattr(m.signing_keys[0], "not_after", 1),
    "nine certificates": lambda m: m.certificates.extend([m.certificates[0]] * 8),
    "an empty certificate": lambda m: m.certificates.append(b""),
    "a certificate of 16,385 bytes": lambda m: m.certificates.append(bytes(16_385)),
    "17 endpoints": lambda m: _ends(m, *(["a.example:1"] * 17)),
    "an endpoint without port": lambda m: _ends(m, "a.example"),
    "65 features": lambda m: m.features.extend(f"x-{n}" for n in range(65)),
    "a feature that is no token": lambda m: m.features.append("Not A Token"),
    "a place that is none": lambda m: setattr(m, "place", "Germany"),
}


@check("IT-IDN-018", role="stranger", refusal=True)
async def fields_of_descriptor(stage: Stage) -> None:
    """Each field out of its rule is refused with DESCRIPTOR_INVALID."""
    await sound(stage)
    me = stage.peerings.identity()
    for what, change in BAD_FIELDS.items():
        statement = me.statement()
        change(statement)
        await bad_chain(stage, me, [version([], statement, me.root)], "DESCRIPTOR_INVALID", what)


# -- updates --------------------------------------------------------------------------------------


async def known(stage: Stage, versions: int = 2) -> Identity:
    """A grid that is peered with, with so many versions of its descriptor."""
    me = stage.peerings.identity()
    while len(me.chain) < versions:
        me.chain.append(version(me.chain, me.statement(), me.root))
    (peer,) = await stage.peerings.make([me])
    await peer.channel.close()
    return me


@check("IT-IDN-022", role="stranger", refusal=True)
async def equivocates(stage: Stage) -> None:
    """Something else at a known version is refused with DESCRIPTOR_EQUIVOCATION; a longer one is taken."""
    me = await known(stage)
    other = me.statement()
    other.issued_at += 1
    forked = version(me.chain[:1], other, me.root)
    await bad_chain(stage, me, [me.chain[0], forked], "DESCRIPTOR_EQUIVOCATION", "another version 2")
    longer = [me.chain[0], forked, version([me.chain[0], forked], other, me.root)]
    await bad_chain(stage, me, longer, "DESCRIPTOR_EQUIVOCATION", "another version 2, a version 3")
    me.chain.append(version(me.chain, me.statement(), me.root))
    await taken(stage, me, "version 3 after the known version 2")


@check("IT-IDN-023", role="stranger", refusal=True)
async def rolls_back(stage: Stage) -> None:
    """A shorter chain than the known one is refused with DESCRIPTOR_ROLLBACK; the known one is taken."""
    me = await known(stage, 3)
    for shorter in (1, 2):
        await bad_chain(stage, me, me.chain[:shorter], "DESCRIPTOR_ROLLBACK", f"{shorter} of 3 versions")
    await taken(stage, me, "the known chain")


@check("IT-IDN-020", role="stranger", refusal=True)
async def steps_of_update(stage: Stage) -> None:
    """A shorter chain that also says something else is refused with DESCRIPTOR_EQUIVOCATION, the earlier step."""
    me = await known(stage, 3)
    other = me.statement()
    other.issued_at += 1
    forked = version(me.chain[:1], other, me.root)
    await bad_chain(stage, me, [me.chain[0], forked], "DESCRIPTOR_EQUIVOCATION", "another version 2 of 3")
    await taken(stage, me, "the known chain")


@check("IT-IDN-001", role="stranger")
async def is_its_fingerprint(stage: Stage) -> None:
    """A grid that has changed its root key is still itself: it peers again under its name and first fingerprint."""
    me, new = await known(stage, 1), Key()
    me.chain.append(version(me.chain, me.statement(), me.root, new))
    await taken(stage, me, "a new root key of a known grid")


# -- names ----------------------------------------------------------------------------------------


@check("IT-IDN-062", role="stranger", refusal=True)
async def pinned_name(stage: Stage) -> None:
    """Another grid that bears the name of a peer is refused with DESCRIPTOR_INVALID."""
    await sound(stage)
    me = await known(stage, 1)
    other = Identity(me.grid)
    other.describe()
    await bad_chain(stage, other, other.chain, "DESCRIPTOR_INVALID", "the name of a peer")


@check("IT-IDN-002", role="stranger", refusal=True)
async def own_name(stage: Stage) -> None:
    """Another grid that bears the target's own name is refused with DESCRIPTOR_INVALID."""
    await sound(stage)
    other = Identity(stage.target.grid)
    other.describe()
    await bad_chain(stage, other, other.chain, "DESCRIPTOR_INVALID", "the target's own name")


# -- certificates ---------------------------------------------------------------------------------


@check("IT-IDN-052", role="stranger", refusal=True)
async def bad_certificates(stage: Stage) -> None:
    """Certificates that are a CA, of another curve, subject or name, or none at all are CERTIFICATE_MISMATCH."""
    await sound(stage)
    me = stage.peerings.identity()
    make = certificates.make_certificate
    bad = {
        "a CA": make(me.grid, ca=True),
        "a key of P-384": make(me.grid, p384=True),
        "a subject of its own": make(me.grid, common_name="me"),
        "another name": make(f"x{me.grid}"),
        "two names": make(me.grid, names=(me.grid, "other.example")),
        "no usages": make(me.grid, usages=False),
        "no DER": (b"", b"\x30\x03\x02\x01\x00"),
    }
    for what, (_, der) in bad.items():
        for listed in ([der], [me.certificate, der]):
            statement = me.statement()
            del statement.certificates[:]
            statement.certificates.extend(listed)
            await bad_chain(stage, me, [version([], statement, me.root)], "CERTIFICATE_MISMATCH", what)


@check("IT-IDN-051", role="stranger")
async def own_certificates(stage: Stage) -> None:
    """Every certificate in the target's descriptor keeps the profile, and the public port shows one of them."""
    target = stage.target
    listed = list(target.described.message.certificates)
    if target.certificate not in listed:
        fail("the public port shows a listed certificate", "another one")
    for der in listed:
        fault = certificates.fault_of(target.grid, der)
        if fault:
            fail("a certificate of the profile", fault)
    stage.saw(f"{len(listed)} certificates keep the profile")


@check("IT-IDN-055", role="honest peer")
async def admits_beside(stage: Stage) -> None:
    """While a new grid is admitted and opens its link, the link of another one goes on, on the same stream."""
    peer = await (await stage.peer()).up()
    new = await stage.peer(max_open_holds=34)
    await new.up()
    await peer.expect_alive()
    await ordering.still_sells(peer)
    await ordering.still_sells(new)


# -- the target's own -----------------------------------------------------------------------------


@check("IT-IDN-040", role="stranger")
async def serves_chain(stage: Stage) -> None:
    """GetDescriptor answers a caller without certificate with the whole chain from version 1, which verifies."""
    answer = await stage.target.directory().GetDescriptor(dr.GetDescriptorRequest(), timeout=stage.patience)
    if list(answer.descriptors) != stage.target.chain:
        fail("the chain that the target had served, and that verified, before", f"{len(answer.descriptors)} versions")
    stage.saw(f"a chain of {len(answer.descriptors)} versions")


@check("IT-IDN-041", role="stranger")
async def serves_nothing_above(stage: Stage) -> None:
    """GetDescriptor with after_version at or above the last version answers with an empty list."""
    for after in (len(stage.target.chain), len(stage.target.chain) + 5):
        request = dr.GetDescriptorRequest(after_version=after)
        answer = await stage.target.directory().GetDescriptor(request, timeout=stage.patience)
        if answer.descriptors:
            fail(f"nothing above version {after}", f"{len(answer.descriptors)} descriptors")
    stage.saw("an empty list")


async def told_chains(stage: Stage) -> list[list[bytes]]:
    """The target's descriptor chain as its Open and its advertisements carry it."""
    peer = await (await stage.peer()).up()
    return [list(peer.target_open().descriptors), list(peer.routes[peer.peer.fingerprint].descriptors)]


@check("IT-IDN-010", role="honest peer")
async def own_descriptor(stage: Stage) -> None:
    """The target's descriptor keeps the rules of its fields wherever the target tells it."""
    peer = await stage.peer()
    await peer.begin()
    await peer.wait(lambda: peer.frames, "an Open of the target")
    try:
        read = descriptors.read_chain(list(peer.target_open().descriptors))
    except Refusal as refusal:
        fail("a sound chain in the target's Open", refusal)
    if read.fingerprint != stage.target.described.fingerprint:
        fail("the target's own chain", read.grid)
    stage.saw("a sound chain in the Open")


@check("IT-IDN-021", role="honest peer")
async def one_statement(stage: Stage) -> None:
    """GetDescriptor, Opens and advertisements tell one and the same descriptor of each version."""
    for chain in await told_chains(stage):
        for sealed, served in zip(chain, stage.target.chain, strict=False):
            if envelope.peek(sealed).payload != envelope.peek(served).payload:
                fail("one descriptor a version", "two")
    stage.saw("the same descriptors everywhere")


@check("IT-IDN-030", role="honest peer")
async def keys_in_time(stage: Stage) -> None:
    """Open, head signatures, agreement and catalog root are signed by keys that the descriptor lists as valid now."""
    peer = await (await stage.peer()).up()
    await peer.expect_signed()
    await ordering.own_route(peer)
    now = now_ms()
    valid = set(stage.target.described.keys(now))
    agreed = envelope.peek(peer.agreement.sealed).signatures
    own = {s.key_id for s in agreed} - {peer.me.key.id}
    root = {s.key_id for s in envelope.peek(peer.routes[peer.peer.fingerprint].root).signatures}
    opened = {s.key_id for s in envelope.peek(peer.frames[0].open).signatures}
    heads = {s.key_id for f in peer.frames if f.HasField("signature") for s in f.signature.signatures}
    for what, used in (("agreement", own), ("catalog root", root), ("Open", opened), ("head signatures", heads)):
        if not used or not used <= valid:
            fail(f"{what}: keys that are valid now", [key.hex() for key in used - valid])
    stage.saw("every signature by a key that is valid now")
