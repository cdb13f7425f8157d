"""Parts of `intertie demo` that need no grid: what south serves, the changed byte, the layout."""

import subprocess
from types import SimpleNamespace

import pytest

from intertie.amounts import total_to_bytes
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import export_pb2 as xp
from intertie.v1.catalog_pb2 import ListedOffer
from intertie.v1.link_pb2 import HeadSignature
from intertie_node import config
from intertie_node.core.export_file import framed
from intertie_node.demo import grids, library, repository
from intertie_node.demo.agent import Streamed, afford
from intertie_node.demo.exports import Export, Lane, Names, Proofs, Report, Side, read_log, records
from intertie_node.demo.report import energy_text
from intertie_node.demo.tampering import tamper
from intertie_node.demo.verdict import Books


def test_without_a_checkout_a_small_repository_is_generated(tmp_path, monkeypatch):
    monkeypatch.setattr(repository, "checkout", lambda: None)
    made = repository.prepare(tmp_path / "repository")
    log = subprocess.run(["git", "-C", made.folder, "log", "--format=%s"], capture_output=True, text=True, check=True)
    assert made.origin == "a small generated repository"
    assert len(log.stdout.splitlines()) >= 3


def test_a_checkout_that_cannot_be_cloned_is_replaced(tmp_path, monkeypatch):
    root = tmp_path / "root"
    (root / ".git").mkdir(parents=True)
    monkeypatch.setattr(repository, "checkout", lambda: root)
    assert repository.prepare(tmp_path / "repository").origin == "a small generated repository"


def test_the_projects_own_repository_is_cloned(tmp_path, monkeypatch):
    root = repository.prepare_generated(tmp_path / "root").folder
    monkeypatch.setattr(repository, "checkout", lambda: root)
    made = repository.prepare(tmp_path / "repository")
    assert "clone" in made.origin
    assert (made.folder / ".git").is_dir()


def test_without_a_checkout_the_packaged_library_is_served(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "checkout", lambda: None)
    files = library.prepare(tmp_path / "library")
    assert len(files) >= 3
    assert "signature" in (tmp_path / "library" / "what-a-link-is.md").read_text()


def test_proto_comments_become_markdown():
    proto = """
// What is said.
// Twice.
message Said {
  // Who says it.
  string by = 1;
  repeated int64 amounts = 2;
}
"""
    assert list(library.as_markdown("x.proto", proto)) == [
        "# x.proto",
        "",
        "## Said",
        "",
        "What is said. Twice.",
        "",
        "- `by`: Who says it.",
        "- `amounts`: ",
    ]


def test_each_grid_has_its_own_ports_and_a_valid_configuration(tmp_path):
    laid = grids.lay_out(tmp_path)
    addresses = [address for grid in laid.values() for address in (grid.public, grid.peer, grid.loopback)]
    assert len(set(addresses)) == 9
    for grid in laid.values():
        grid.folder.mkdir()
        grids.write_config(grid, tmp_path / 'odd "name"', tmp_path)
        assert config.load(grid.config).grid.name == grid.name
    assert config.load(laid[grids.HUB].config).relay.allow


def export_of(tmp_path, entries, sides=("hub.example", "south.example")):
    """An exported file of two groups (not signed: the demo's own reading trusts `ledger verify`)."""
    file = tmp_path / "x.intertie"
    signature = HeadSignature(agreed_total=total_to_bytes(7)).SerializeToString()
    with file.open("wb") as out:
        out.write(framed(xp.ExportRecord(header=xp.ExportHeader(version=1)).SerializeToString()))
        for side, first, entry in entries:
            group = xp.ExportGroup(side=side, first_seq=first, entries=[entry.SerializeToString()], signature=signature)
            out.write(framed(xp.ExportRecord(group=group).SerializeToString()))
    lane = Lane(charged=7, posted=7, pending=0, agreed=7)
    pair = tuple(Side(grid=name, entries=1, signatures=1) for name in sides)
    report = Report(
        ok=True, genesis="", asset="XTS", scale=6, sides=pair, lanes=(lane, Lane(0, 0, 0, 0)), proofs=Proofs()
    )
    return Export("hub.example", "south.example", file, 0, report)


CHARGE = pb.Entry(kind=pb.ENTRY_KIND_CHARGE, charge=pb.Charge(order_seq=3, amount=300, quantities=[1, 5]))
GRANT = pb.Entry(kind=pb.ENTRY_KIND_GRANT, grant=pb.Grant(order_seq=3, amount=9))


def test_tampering_changes_one_byte_and_one_charge(tmp_path):
    file = export_of(tmp_path, [(2, 1, CHARGE), (1, 1, GRANT)]).file
    before = file.read_bytes()
    changed = tamper(file)
    after = file.read_bytes()
    assert [i for i, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]] == [changed.offset]
    assert (changed.amount, changed.forged) == (300, 301)
    forged = [pb.Entry.FromString(data) for record in records(file) for data in record.group.entries]
    assert [entry.charge.amount for entry in forged if entry.kind == pb.ENTRY_KIND_CHARGE] == [301]


def test_a_log_is_told_in_order_and_a_total_once(tmp_path):
    export = export_of(tmp_path, [(1, 1, GRANT), (1, 2, GRANT), (2, 1, CHARGE)])
    lines = read_log(export, Names({}, {}))
    assert [(line.writer, line.seq, line.kind) for line in lines] == [
        ("hub.example", 1, "grant"),
        ("hub.example", 0, "signature"),
        ("hub.example", 2, "grant"),
        ("south.example", 1, "charge"),
        ("south.example", 0, "signature"),
    ]
    assert lines[1].text == "signs that it owes 0.000007"
    assert lines[3].text == "for 3: 0.000300 so far"


def test_books_are_settled_only_when_all_is_signed_for(tmp_path):
    export = export_of(tmp_path, [])
    assert Books([export]).is_settled
    for lane in (Lane(7, 7, 0, 6), Lane(7, 7, 0, 7, {"OPEN": 1})):
        report = SimpleNamespace(lanes=(lane, lane))
        assert not Books([SimpleNamespace(report=report)]).is_settled


@pytest.mark.parametrize("numbers", [[1, 3], [1, 1, 2], [2, 3], [2, 1]])
def test_a_gap_or_a_double_is_seen(numbers):
    assert not Streamed(numbers=numbers).is_gapless
    assert Streamed(numbers=[1, 2, 3]).is_gapless


def test_what_may_be_charged_follows_the_listed_prices():
    offer = ListedOffer()
    offer.prices.add(unit="order", num=100, den=1)
    offer.prices.add(unit="text.output.byte", num=3, den=2)
    assert afford(offer, {"order": 1, "text.output.byte": 201}) == 402 + 40 + 3


def test_unknown_energy_is_not_shown_as_zero():
    assert energy_text(None) == "unknown"
