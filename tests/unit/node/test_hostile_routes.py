"""False, stolen and endless advertisements in memory and virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kit.identities import Identity, limits, make_offer
from tests.kit.rogue import HOUR_MS, K
from tests.kit.sim_node import is_open
from tests.unit.node.test_hostile_relays import Between
from tests.unit.node.test_misdeeds import MAL, Scene

from intertie import descriptors, envelope
from intertie.digests import multihash
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.catalog_pb2 import Advertisement, OriginRoute
from intertie_node.core.ledger import THEM
from intertie_node.core.routing import MAX_ROUTES

EVIL = Identity("evil.example")


def _stolen(name: str) -> Identity:
    """Another grid that says it has this name."""
    thief = Identity("thief.example")
    keys = (descriptors.SigningKey(thief.key.public, 0, 2**50),)
    statement = descriptors.Statement(grid=name, issued_at=1, signing_keys=keys)
    thief.chain = [descriptors.issue([], statement, thief.root)]
    thief.grid = name
    return thief


def _lie(scene: Scene, name: str) -> list[Advertisement]:
    rogue, offers = scene.rogue, [make_offer(MAL.fingerprint, "tool")]
    thief = _stolen("south.example" if name == "a peer's name" else "north.example")
    tariff = pb.Tariff(origin=thief.fingerprint, markup_num=1, markup_den=1, expires_at=rogue.now() + HOUR_MS)
    if name in ("a peer's name", "the node's own name"):
        seq = rogue.write(K.ENTRY_KIND_TARIFF, tariff=tariff)
        payload = envelope.peek_unverified(rogue.root(offers, origin=thief.fingerprint))[1]
        root = envelope.seal(envelope.CATALOG_ROOT, payload, [thief.key])
        path = [MAL.fingerprint, thief.fingerprint]
        return rogue.advertise(offers, seq, descriptors=thief.chain, path=path, root=root)
    changes: dict[str, dict[str, Any]] = {
        "path through the receiver": {"path": [MAL.fingerprint, scene.node.fingerprint, MAL.fingerprint]},
        "path from another": {"path": [EVIL.fingerprint, MAL.fingerprint]},
        "no path": {"path": []},
        "path too long": {"path": [MAL.fingerprint] * 17},
        "chain of another": {"descriptors": EVIL.chain},
        "no chain": {"descriptors": []},
        "garbage chain": {"descriptors": [b"\xff" * 9]},
        "root of another origin": {"root": rogue.root(offers, origin=EVIL.fingerprint)},
        "root signed by another": {
            "root": envelope.seal(envelope.CATALOG_ROOT, envelope.peek_unverified(rogue.root(offers))[1], [EVIL.key])
        },
        "expired root": {"root": rogue.root(offers, expires_at=rogue.now() - 1)},
        "unsorted root": {"root": rogue.root(offers, offers=[b"b", b"a"])},
        "root is garbage": {"root": envelope.seal(envelope.CATALOG_ROOT, b"\xff" * 9, [MAL.key])},
        "root is no envelope": {"root": b"\xff" * 9},
        "unknown tariff": {"tariff_seq": 77},
        "tariff of another origin": {},
    }
    if name == "tariff of another origin":
        return rogue.advertise(offers, rogue.write(K.ENTRY_KIND_TARIFF, tariff=tariff))
    return rogue.advertise(offers, **changes[name])


LIES = {
    "a peer's name": "DESCRIPTOR_INVALID",
    "the node's own name": "DESCRIPTOR_INVALID",
    "path through the receiver": "LOOP",
    "path from another": "LOOP",
    "no path": "LOOP",
    "path too long": "LOOP",
    "chain of another": "DESCRIPTOR_INVALID",
    "no chain": "DESCRIPTOR_INVALID",
    "garbage chain": "INVALID_ARGUMENT",
    "root of another origin": "INVALID_ARGUMENT",
    "root signed by another": "SIGNATURE_INVALID",
    "expired root": "INVALID_ARGUMENT",
    "unsorted root": "INVALID_ARGUMENT",
    "root is garbage": "INVALID_ARGUMENT",
    "root is no envelope": "INVALID_ARGUMENT",
    "unknown tariff": "TARIFF_INVALID",
    "tariff of another origin": "TARIFF_INVALID",
}


@pytest.mark.parametrize("name", LIES)
def test_a_false_advertisement_is_dropped_by_name(name: str) -> None:
    scene = Scene().opened()
    scene.rogue.say(advertisements=_lie(scene, name))
    scene.net.run()
    catalog = scene.node.world.catalog
    assert catalog.refused[scene.node.link(MAL).name].startswith(LIES[name])
    assert not [key for key in catalog.routes if key[0] == scene.node.link(MAL).name]
    assert set(catalog._by_ref) == {"north.example/echo", "south.example/echo"}
    assert is_open(scene.node, MAL)
    known = {d.grid: fingerprint for fingerprint, d in scene.node.world.executors.items()}
    assert known["south.example"] == scene.south.fingerprint
    scene.check_calm()


def test_offers_outside_the_root_are_not_taken() -> None:
    scene = Scene().opened()
    listed, other = make_offer(MAL.fingerprint, "tool"), make_offer(MAL.fingerprint, "trap")
    stolen = make_offer(scene.south.fingerprint, "echo", {"order": (1, 1)})
    scene.net.catalogs[MAL.fingerprint] = [other, listed]
    scene.rogue.say(advertisements=scene.rogue.advertise([listed]))
    scene.net.run()
    refs = {"north.example/echo", "south.example/echo", "mal.example/tool"}
    assert set(scene.node.world.catalog._by_ref) == refs
    assert multihash(stolen) not in scene.node.world.catalog.offers
    scene.check_calm()


def test_a_flood_of_origins_leaves_the_routes_of_others() -> None:
    scene = Scene().opened()
    link = scene.node.link(MAL)
    template = next(iter(scene.node.world.catalog.routes.values()))
    for number in range(MAX_ROUTES):  # as if advertised: making so many chains takes too long
        origin = b"\x12\x20" + number.to_bytes(32, "big")
        changed = {"link": link.name, "origin": origin, "offers": (), "epoch": 1}
        route = type(template)(**{**{f: getattr(template, f) for f in template.__struct_fields__}, **changed})
        scene.node.world.catalog.routes[link.name, origin] = route
    scene.rogue.say(advertisements=_lie(scene, "no path")[:1] + scene.rogue.advertise([], path=[MAL.fingerprint])[:1])
    scene.net.wait(2_000)
    assert (link.name, MAL.fingerprint) not in scene.node.world.catalog.routes
    scene.south.submit(lambda fx: scene.south.grid.set_offers([scene.south.own_offer("echo")], fx))
    scene.net.wait(2_000)
    assert (scene.node.link(scene.south).name, scene.south.fingerprint) in scene.node.world.catalog.routes
    scene.rogue.send(lk.Frame(advertisements=[Advertisement(epoch=2, end=True)]).SerializeToString())
    scene.net.run()
    assert len(scene.node.world.catalog.routes) == 1
    scene.check_calm()


def test_a_huge_advertisement_is_not_passed_on() -> None:
    """Whoever takes smaller frames than the hostile peer's would be lost to the relay."""
    scene = Between(limits(frame_bytes=65_536))
    offers = [make_offer(MAL.fingerprint, f"tool{n}") for n in range(2_000)]  # a root of 68 kB
    scene.net.catalogs[MAL.fingerprint] = offers
    scene.rogue.say(advertisements=scene.rogue.advertise(offers))
    scene.net.run()
    scene.net.wait(1_000)
    assert "mal.example/tool7" in scene.hub.world.catalog._by_ref
    assert "mal.example/tool7" not in scene.north.world.catalog._by_ref
    assert is_open(scene.north, scene.hub)
    assert is_open(scene.hub, scene.south)
    scene.check_calm()


def test_an_older_or_forked_descriptor_does_not_take_the_place_of_the_known() -> None:
    scene = Scene().opened()
    south = scene.south.identity
    statement = descriptors.Statement(
        grid=south.grid, issued_at=2, signing_keys=(descriptors.SigningKey(south.key.public, 0, 2**50),)
    )
    forked = [descriptors.issue([], statement, south.root)]
    tariff = pb.Tariff(origin=south.fingerprint, markup_num=1, markup_den=1, expires_at=scene.net.now + HOUR_MS)
    seq = scene.rogue.write(K.ENTRY_KIND_TARIFF, tariff=tariff)
    route = OriginRoute(
        descriptors=forked,
        root=scene.south.grid._told.root,
        path=[MAL.fingerprint, south.fingerprint],
        tariff_seq=seq,
    )
    scene.rogue.say(advertisements=[Advertisement(epoch=1, route=route)])
    scene.net.run()
    assert scene.node.world.catalog.refused[scene.node.link(MAL).name].startswith("DESCRIPTOR_EQUIVOCATION")
    assert scene.node.world.executors[south.fingerprint].digest == south.descriptor.digest
    scene.check_calm()


def test_a_flood_of_tariffs_is_not_kept_for_ever() -> None:
    scene = Scene().opened()
    for _ in range(30):
        for _ in range(200):
            body = pb.Tariff(origin=MAL.fingerprint, markup_num=1, markup_den=1, expires_at=scene.net.now + HOUR_MS)
            scene.rogue.write(K.ENTRY_KIND_TARIFF, tariff=body)
        scene.rogue.say()
        scene.net.run()
    assert len(scene.node.link(MAL).ledger.tariffs[THEM]) <= 2_048
    assert is_open(scene.node, MAL)
    scene.check_calm()
