"""What a link has led to is not remembered without end (IT-CAT-069)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.kit.identities import Identity, make_offer
from tests.kit.rogue import HOUR_MS, K
from tests.unit.node.test_misdeeds import MAL, Scene

from intertie import envelope
from intertie.digests import multihash
from intertie.v1 import entry_pb2 as pb
from intertie.v1.catalog_pb2 import Advertisement
from intertie_node.core import routing
from intertie_node.core.ledger import ME

BOUND = 16


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(routing, "MAX_IDLE", BOUND)
    return Scene().opened()


def _route(scene: Scene, origin: Identity, offers: Sequence[bytes] = ()) -> Advertisement:
    """An origin behind the rogue."""
    rogue = scene.rogue
    body = pb.Tariff(origin=origin.fingerprint, markup_num=1, markup_den=1, expires_at=rogue.now() + HOUR_MS)
    seq = rogue.write(K.ENTRY_KIND_TARIFF, tariff=body)
    digests = sorted(multihash(data) for data in offers)
    payload = envelope.peek_unverified(rogue.root([], origin=origin.fingerprint, offers=digests))[1]
    root = envelope.seal(envelope.CATALOG_ROOT, payload, [origin.key])
    path = [MAL.fingerprint, origin.fingerprint]
    return rogue.advertise([], seq, descriptors=origin.chain, path=path, root=root)[0]


def _flood(scene: Scene, first: int, refused: bool = False) -> None:
    """New origins, withdrawn by the end of their round or by a bad route that follows."""
    for number in range(first, first + 3 * BOUND):
        item = _route(scene, Identity(f"fake{number}.example"))
        after = Advertisement(epoch=1, end=True)
        if refused:
            after = Advertisement()
            after.CopyFrom(item)
            after.route.tariff_seq = 9_999
        scene.rogue.say(advertisements=[item, *([after] if refused or number % 8 == 7 else [])])
        scene.net.run()
        if not refused and number % 8 == 7:
            scene.rogue.say(advertisements=[Advertisement(epoch=2, end=True)])
            scene.net.run()


def _check_bounded(scene: Scene) -> None:
    world, link = scene.node.world, scene.node.link(MAL).name
    rows = [row for row in scene.node.store.all_rows("routes") if row[0] == link]
    assert len(rows) <= BOUND + 8
    assert len(world.executors) <= BOUND + 8 + 3
    assert len(world.catalog.root_versions) <= BOUND + 8 + 3
    assert world.executors.keys() >= {MAL.fingerprint, scene.south.fingerprint, scene.node.fingerprint}


@pytest.mark.parametrize("refused", [False, True])
def test_a_flood_of_passing_origins_is_bounded(scene: Scene, refused: bool) -> None:
    _flood(scene, 0, refused)
    _check_bounded(scene)
    for wire in list(scene.net.wires):
        scene.net.cut(wire)
    scene.node.boot()
    scene.net.dial(scene.rogue, scene.node)
    scene.opened()
    _flood(scene, 100, refused)
    _check_bounded(scene)


def test_an_origin_that_has_been_forgotten_is_met_anew(scene: Scene) -> None:
    """Also under an older root: its version has been forgotten, too."""
    old = Identity("old.example")
    data = make_offer(old.fingerprint, "tool")
    scene.rogue.say(advertisements=[_route(scene, old)])
    scene.net.run()
    assert old.fingerprint in scene.node.world.executors
    scene.rogue.say(advertisements=[Advertisement(epoch=2, end=True)])
    _flood(scene, 100)
    assert old.fingerprint not in scene.node.world.executors
    scene.net.catalogs[MAL.fingerprint] = [data]
    scene.rogue.say(advertisements=[_route(scene, old, [data])])
    scene.net.run()
    assert "old.example/tool" in scene.node.world.catalog._by_ref
    scene.check_calm()


def test_the_origin_of_an_open_order_is_not_forgotten(scene: Scene) -> None:
    """Its record is verified by the descriptor that was known when it was ordered."""
    origin = Identity("origin.example")
    data = make_offer(origin.fingerprint, "tool")
    scene.net.catalogs[MAL.fingerprint] = [data]
    scene.rogue.say(advertisements=[_route(scene, origin, [data])])
    scene.net.run()
    listener = scene.node.invoke("origin.example/tool")
    scene.net.run()
    seq = scene.rogue.entries(K.ENTRY_KIND_ORDER)[-1].seq
    scene.rogue.say(advertisements=[Advertisement(epoch=2, end=True)])
    scene.net.run()
    _flood(scene, 0)
    _check_bounded(scene)
    proof = scene.rogue.proof(seq, {"order": 1}, executor=origin.fingerprint, key=origin.key)
    scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=scene.rogue.claim(seq, {"order": 1}, proof=proof))
    scene.rogue.say(events=[scene.rogue.result(seq)])
    scene.net.run()
    assert not scene.rogue.entries(K.ENTRY_KIND_REFUSE)
    assert scene.node.link(MAL).ledger.lanes[ME].agreed > 0
    assert listener.outcome is not None
    _flood(scene, 100)
    assert origin.fingerprint not in scene.node.world.executors
    scene.check_calm()
