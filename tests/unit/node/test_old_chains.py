"""A key that an origin's newest descriptor does not list signs nothing any more, whatever chain is shown beside it."""

from __future__ import annotations

import pytest
from tests.kit.identities import Identity, make_offer
from tests.kit.rogue import HOUR_MS, K
from tests.unit.node.test_misdeeds import MAL, Scene

from intertie import descriptors, envelope
from intertie.errors import IntertieError
from intertie.keys import PrivateKey
from intertie.v1 import entry_pb2 as pb
from intertie_node.core.catalog import known_offer


def test_a_root_by_an_old_key_is_refused_beside_the_old_chain() -> None:
    scene = Scene().opened()
    origin = Identity("far.example")
    old_chain, old_key, new_key = list(origin.chain), origin.key, PrivateKey.generate()
    statement = descriptors.Statement(
        grid=origin.grid, issued_at=2, signing_keys=(descriptors.SigningKey(new_key.public, 0, 2**50),)
    )
    new_chain = [*old_chain, descriptors.issue(old_chain, statement, origin.root)]
    rogue, offers = scene.rogue, [make_offer(origin.fingerprint, "tool")]
    tariff = pb.Tariff(origin=origin.fingerprint, markup_num=1, markup_den=1, expires_at=rogue.now() + HOUR_MS)
    seq = rogue.write(K.ENTRY_KIND_TARIFF, tariff=tariff)
    payload = envelope.peek_unverified(rogue.root(offers, origin=origin.fingerprint))[1]

    def shown(epoch: int, chain: list[bytes], key: PrivateKey) -> str:
        root = envelope.seal(envelope.CATALOG_ROOT, payload, [key])
        path = [MAL.fingerprint, origin.fingerprint]
        rogue.say(advertisements=rogue.advertise(offers, seq, epoch, descriptors=chain, root=root, path=path))
        scene.net.run()
        name = scene.node.link(MAL).name
        known = (name, origin.fingerprint) in scene.node.world.catalog.routes
        return "" if known else scene.node.world.catalog.refused[name]

    assert shown(1, old_chain, old_key) == ""
    assert shown(2, new_chain, new_key) == ""
    assert shown(3, old_chain, old_key).startswith("SIGNATURE_INVALID")
    assert shown(4, old_chain, new_key) == ""


def test_an_offer_with_a_long_unit_is_refused() -> None:
    fits = make_offer(MAL.fingerprint, "tool", prices={"x-" + "u" * 62: (1, 1)})
    long = make_offer(MAL.fingerprint, "tool", prices={"x-" + "u" * 63: (1, 1)})
    assert known_offer(MAL.fingerprint, "mal.example", fits).prices[0][0].endswith("u")
    with pytest.raises(IntertieError) as refused:
        known_offer(MAL.fingerprint, "mal.example", long)
    assert refused.value.reason == "INVALID_ARGUMENT"
