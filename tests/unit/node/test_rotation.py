"""A grid's keys change: its peers take up what its roots have signed for, and nothing else (design §6)."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import msgspec
import pytest
from tests.kit.identities import START, Identity
from tests.kit.line import ECHO, Line
from tests.kit.memory_store import MemoryStore
from tests.kit.sim_node import SimNode, is_open
from tests.unit.node.test_misdeeds import MAL, Scene

from intertie import descriptors
from intertie.errors import IntertieError
from intertie.keys import PrivateKey
from intertie.v1 import link_pb2 as lk
from intertie_node.adapters.grpc.tls import make_certificate
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.link_report import LinkReport
from intertie_node.core.verifying import verify_export
from intertie_node.services import describing, identity, rotation
from intertie_node.services.clock import wall_clock
from intertie_node.services.exporting import export_link, make_header, read_records
from intertie_node.services.rotation import Chosen


@pytest.fixture
def line() -> Line:
    return Line()


def version_of(node: SimNode, peer: SimNode) -> int:
    return node.link(peer).peer.descriptor.version


def works(line: Line) -> None:
    listener = line.north.invoke(ECHO)
    line.net.run()
    assert listener.outcome is not None, listener.refused
    assert listener.outcome.receipt.charge == 10


def exported(node: SimNode, peer: SimNode) -> LinkReport:
    """What a stranger finds in the node's file of a link."""
    row = node.store.row("peerings", (node.link(peer).genesis,))
    assert row is not None
    chain = msgspec.msgpack.decode(row[5], type=list[bytes])
    out = io.BytesIO()
    header = make_header(node.fingerprint, node.identity.chain, chain, row[4])
    export_link(node.store, node.link(peer).name, header, out)
    return verify_export(read_records(io.BytesIO(out.getvalue())))


# -- taking up -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", [False, True])
def test_a_new_version_comes_with_the_open_and_stays(line: Line, root: bool) -> None:
    works(line)
    for version in (2, 3):
        line.hub.identity.rotate(line.net.now, root=root)
        line.restart(line.hub)
        line.connect(line.hub, line.north)
        line.connect(line.south, line.hub)
        assert version_of(line.north, line.hub) == version_of(line.south, line.hub) == version
        works(line)
    for node in (line.north, line.south):
        line.restart(node)
        assert version_of(node, line.hub) == 3
        line.connect(node, line.hub)
    works(line)
    for one, two in ((line.north, line.hub), (line.hub, line.north), (line.hub, line.south), (line.south, line.hub)):
        report = exported(one, two)
        assert report.ok, report.fault
        assert not report.proofs.faulty


def test_an_origin_further_down_is_known_by_its_new_key(line: Line) -> None:
    line.south.identity.rotate(line.net.now, keep=False)
    line.restart(line.south)
    line.connect(line.south, line.hub)
    works(line)
    assert line.north.world.executors[line.south.fingerprint].version == 2
    line.restart(line.north)
    assert line.north.world.executors[line.south.fingerprint].version == 2


def test_what_the_old_key_signed_comes_back_to_a_restored_peer(line: Line) -> None:
    """North is put back to before the rotation and the calls: hub returns what both old and new keys signed."""
    older = line.backup(line.north)
    works(line)
    line.hub.identity.rotate(line.net.now, keep=False)
    line.north.identity.rotate(line.net.now, keep=False)
    line.restart(line.hub)
    line.restart(line.north)
    line.connect(line.hub, line.north)
    line.connect(line.south, line.hub)
    works(line)
    before = line.hub.link(line.north).pair.logs[ME].seq
    line.restart(line.north, older)
    line.connect(line.north, line.hub)
    assert line.north.link(line.hub).pair.logs[1].seq >= before
    works(line)
    assert exported(line.north, line.hub).ok


def test_a_restored_directory_with_older_keys_is_refused(line: Line) -> None:
    old: Identity = copy.deepcopy(line.hub.identity)
    line.hub.identity.rotate(line.net.now)
    line.restart(line.hub)
    line.connect(line.hub, line.north)
    line.hub.identity = old
    line.restart(line.hub)
    line.connect(line.hub, line.north)
    assert line.north.links.closed[line.hub.link(line.north).name].startswith("DESCRIPTOR_ROLLBACK")
    assert not is_open(line.hub, line.north)


def test_two_versions_of_one_number_are_equivocation() -> None:
    scene = Scene()
    forked = copy.deepcopy(MAL)
    forked.rotate(scene.net.now)
    scene.rogue.own = forked
    scene.rogue.send(scene.rogue.seal(scene.rogue.make_open(descriptor_version=2), forked.key))
    scene.net.run()
    assert not scene.rogue.closed
    assert scene.node.link(MAL).peer.descriptor.version == 2
    other = copy.deepcopy(MAL)
    other.rotate(scene.net.now + 1, root=True)
    scene.rogue.own = other
    scene.net.dial(scene.rogue, scene.node)
    scene.rogue.send(scene.rogue.seal(scene.rogue.make_open(descriptor_version=2), other.key))
    scene.net.run()
    assert scene.rogue.closed == "DESCRIPTOR_EQUIVOCATION"
    scene.check_calm()


def test_a_version_that_the_old_root_did_not_sign_is_refused() -> None:
    scene = Scene()
    thief = copy.deepcopy(MAL)
    stolen, root = PrivateKey.generate(), PrivateKey.generate()
    keys = (descriptors.SigningKey(stolen.public, 0, 2**50),)
    statement = descriptors.Statement(grid=MAL.grid, issued_at=2, signing_keys=keys)
    fake = descriptors.issue([], statement, root)
    thief.chain = [*MAL.chain, fake]
    scene.rogue.own = thief
    scene.rogue.send(scene.rogue.seal(scene.rogue.make_open(descriptor_version=2), stolen))
    scene.net.run()
    assert scene.rogue.closed == "SIGNATURE_INVALID"
    assert scene.node.link(MAL).peer.descriptor.version == 1
    scene.check_calm()


def test_a_stated_version_that_is_not_carried_is_refused() -> None:
    scene = Scene()
    scene.rogue.send(scene.rogue.seal(scene.rogue.make_open(descriptor_version=2)))
    scene.net.run()
    assert scene.rogue.closed == "DESCRIPTOR_INVALID"
    scene.check_calm()


@pytest.mark.parametrize("keep", [False, True])
def test_the_old_key_opens_no_session_and_signs_in_none(keep: bool) -> None:
    scene = Scene()
    rotated = copy.deepcopy(MAL)
    rotated.rotate(scene.net.now - 60_000, keep=keep)
    scene.rogue.own = rotated
    scene.rogue.send(scene.rogue.seal(scene.rogue.make_open(descriptor_version=2), MAL.key))
    scene.net.run()
    assert scene.rogue.closed == "SIGNATURE_INVALID"
    scene.net.dial(scene.rogue, scene.node)
    scene.rogue.send(scene.rogue.seal(scene.rogue.make_open(descriptor_version=2), rotated.key))
    scene.net.run()
    assert not scene.rogue.closed
    rotated.key = MAL.key
    scene.rogue.buy(scene.offer)
    scene.net.run()
    assert scene.rogue.closed == "SIGNATURE_INVALID"
    scene.check_calm()


def test_a_new_certificate_that_breaks_the_profile_is_refused() -> None:
    scene = Scene()
    bad = copy.deepcopy(MAL)
    keys = bad.descriptor.signing_keys
    statement = descriptors.Statement(grid=MAL.grid, issued_at=2, signing_keys=keys, certificates=(b"no certificate",))
    bad.chain = [*MAL.chain, descriptors.issue(MAL.chain, statement, MAL.root)]
    scene.rogue.own = bad
    scene.rogue.send(scene.rogue.seal(scene.rogue.make_open(descriptor_version=2)))
    scene.net.run()
    assert scene.rogue.closed == "CERTIFICATE_MISMATCH"
    assert scene.node.link(MAL).peer.descriptor.version == 1
    scene.check_calm()


def test_an_offline_verifier_refuses_an_old_key_after_the_rotation(line: Line) -> None:
    """The newest version that lists a key says until when it was valid."""
    works(line)
    now = line.net.now
    line.hub.identity.rotate(now - 10_000)
    line.restart(line.north)
    row = line.hub.store.row("peerings", (line.hub.link(line.north).genesis,))
    assert row is not None
    report = exported(line.hub, line.north)
    assert report.fault is not None
    assert report.fault.reason == "SIGNATURE_INVALID"


def test_the_newest_statement_about_a_key_counts() -> None:
    grid = Identity("north.example")
    old = grid.key.public
    grid.rotate(5)
    grid.rotate(9, keep=False)
    history = descriptors.verify_history(grid.chain)
    until = {signing.key: signing.not_after for signing in history.signing_keys}
    assert len(until) == 3
    assert until[old] == 5
    assert descriptors.verify_chain(grid.chain).signing_keys[0].key == grid.key.public
    with pytest.raises(IntertieError):
        descriptors.verify_history(grid.chain[1:])


# -- on disk -------------------------------------------------------------------------------------------

STATED = describing.Facts("north.example", "DE", "127.0.0.1:1", "127.0.0.1:2")
NOW = wall_clock()


class Directory:
    """Keys on disk and the stored chain."""

    def __init__(self, folder: Path) -> None:
        self.keys = folder / "keys"
        self.store = MemoryStore()
        made = identity.create(self.keys, STATED.grid, make_certificate)
        describing.keep_chain(self.store, describing.describe(made, STATED, [], NOW), NOW)  # type: ignore[arg-type]

    @property
    def chain(self) -> list[bytes]:
        return describing.stored_chain(self.store)  # type: ignore[arg-type]

    def rotate(self, **chosen: bool) -> None:
        rotation.rotate(self.keys, self.store, STATED, Chosen(**chosen), make_certificate, NOW + 1_000)  # type: ignore[arg-type]

    def check(self) -> identity.Identity:
        """A start finds keys that the chain states, and nothing else to say."""
        rotation.settle(self.keys, self.chain)
        found = identity.load(self.keys)
        latest = descriptors.verify_chain(self.chain)
        assert latest.root_key == found.root.public
        assert latest.signing_keys[0].key == found.signing.public
        assert latest.certificates[0] == found.certificate
        assert describing.describe(found, STATED, self.chain, NOW + 2_000) == self.chain
        names = {path.name for path in self.keys.iterdir()}
        assert names <= {*identity.FILES, *identity.PREVIOUS}
        assert all(path.stat().st_mode & 0o077 == 0 for path in self.keys.iterdir())
        return found


@pytest.mark.parametrize("what", ["root", "signing_key", "certificate"])
def test_one_thing_is_rotated(tmp_path: Path, what: str) -> None:
    directory = Directory(tmp_path)
    before = directory.check()
    directory.rotate(**{what: True})
    after = directory.check()
    changed = {
        "root": before.root.public != after.root.public,
        "signing_key": before.signing.public != after.signing.public,
        "certificate": before.certificate != after.certificate,
    }
    assert [name for name, is_changed in changed.items() if is_changed] == [what]
    latest = descriptors.verify_chain(directory.chain)
    assert latest.fingerprint == before.root.public.key_id
    assert latest.certificates == tuple(dict.fromkeys((after.certificate, before.certificate)))
    until = {signing.key: signing.not_after for signing in latest.signing_keys}
    assert until[before.signing.public] == (NOW + 1_000 if what == "signing_key" else until[after.signing.public])


class Stop(Exception):  # noqa: N818 - a crash, not an error
    """The process ends here."""


@pytest.mark.parametrize("moment", ["staging", "staged", "committed", "half in place"])
def test_a_rotation_that_ends_half_way_is_whole_at_the_next_start(
    tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = Directory(tmp_path)
    before = directory.check()
    written = 0
    write, keep, settle = identity.write, describing.keep_chain, rotation.settle

    def stopping(path: Path, data: bytes) -> None:
        nonlocal written
        written += 1
        if written == {"staging": 3, "half in place": 9}.get(moment, 0):
            raise Stop
        write(path, data)

    def keeping(*arguments: object) -> None:
        if moment == "staged":
            raise Stop
        keep(*arguments)  # type: ignore[arg-type]

    def settling(keys: Path, chain: list[bytes]) -> None:
        if moment == "committed" and len(chain) == 2:
            raise Stop
        settle(keys, chain)

    with monkeypatch.context() as patched:
        patched.setattr(identity, "write", stopping)
        patched.setattr(describing, "keep_chain", keeping)
        patched.setattr(rotation, "settle", settling)
        with pytest.raises(Stop):
            directory.rotate(root=True, signing_key=True, certificate=True)
    after = directory.check()
    rotated = moment in ("committed", "half in place")
    assert (after.signing.public != before.signing.public) is rotated
    assert len(directory.chain) == (2 if rotated else 1)
    directory.rotate(root=True)
    directory.check()


def test_a_retired_key_stays_listed_for_a_month(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    old = identity.load(directory.keys).signing.public
    directory.rotate(signing_key=True)
    found = directory.check()
    later = NOW + 31 * describing.DAY_MS
    moved = describing.Facts(STATED.grid, STATED.place, "127.0.0.1:9", STATED.peer)
    soon = describing.describe(found, moved, directory.chain, NOW + 5_000)
    assert old in {signing.key for signing in descriptors.verify_chain(soon).signing_keys}
    late = describing.describe(found, moved, directory.chain, later)
    assert [signing.key for signing in descriptors.verify_chain(late).signing_keys] == [found.signing.public]


def test_a_replaced_key_stays_listed_for_what_it_has_signed_before_the_clock_was_set_back(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    line = Line()
    stored = line.hub.link(line.north).stored()
    written = NOW + 60_000
    logs = ((*stored.logs[ME][:3], written), stored.logs[THEM])
    row = ("link", msgspec.msgpack.encode(msgspec.structs.replace(stored, logs=logs)))
    directory.store.tables["links"][row[:1]] = row
    old = identity.load(directory.keys).signing.public
    directory.rotate(signing_key=True)
    until = {signing.key: signing.not_after for signing in descriptors.verify_chain(directory.chain).signing_keys}
    assert until[old] == written


def test_an_agreement_that_waits_was_signed_by_the_replaced_key_too(tmp_path: Path) -> None:
    line = Line()
    directory = Directory(tmp_path)
    agreement = line.hub.store.all_rows("peerings")[0][4]
    row = (b"digest", "outgoing", b"fingerprint", "south.example", 1, agreement, b"", 0)
    directory.store.tables["proposals"][row[:1]] = row
    assert describing.stating_time(directory.store, NOW) == START  # type: ignore[arg-type]


def test_nothing_chosen(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    with pytest.raises(IntertieError, match="Nothing to rotate"):
        directory.rotate()


def test_an_open_frame_has_nothing_else() -> None:
    """The descriptor is taken up only from a sound Open."""
    scene = Scene()
    rotated = copy.deepcopy(MAL)
    rotated.rotate(scene.net.now)
    scene.rogue.own = rotated
    frame = lk.Frame.FromString(scene.rogue.seal(scene.rogue.make_open(descriptor_version=2, clock=2**60), rotated.key))
    scene.rogue.send(frame.SerializeToString())
    scene.net.run()
    assert scene.rogue.closed == "CLOCK"
    assert scene.node.link(MAL).peer.descriptor.version == 1
    scene.check_calm()
