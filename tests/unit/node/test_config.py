from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from intertie_node.config import (
    Address,
    Config,
    ConfigError,
    ConformanceTable,
    McpTable,
    PythonTable,
    RagTable,
    Rational,
    decode,
    default_toml,
    load,
    offer_terms,
)

GRID = '[grid]\nname = "north.example"\n'
FOLDER = Path("/etc/intertie")
RAG = '[[backend]]\ntype = "rag"\noffer = "a"\nfolder = "docs"\n'
MCP = '[[backend]]\ntype = "mcp"\ncommand = ["server"]\n'


def read(text: str) -> Config:
    return decode(GRID + text, FOLDER)


def error(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return caught.value


def test_only_the_grids_name_is_needed() -> None:
    config = read("")
    assert config.listen.public == Address("127.0.0.1", 7460)
    assert (config.asset.name, config.asset.scale) == ("XTS", 6)
    assert config.limits.retention_ms == 604_800_000
    assert (config.relay.allow, config.relay.markup, config.relay.fee) == (False, 1, 0)
    assert config.backend == []


def test_default_toml_holds_the_defaults() -> None:
    written = decode(default_toml("north.example"))
    plain = decode(GRID)
    for table in ("grid", "listen", "asset", "limits", "relay", "peering"):
        shown = getattr(written, table)
        if table == "listen":  # a new grid serves its own machine's consumers, which no default opens
            assert shown.loopback is not None
            shown = replace(shown, loopback=None)
        assert shown == getattr(plain, table)
    assert [type(table) for table in written.backend] == [ConformanceTable]
    ports = decode(default_toml("a", "0.0.0.0:1", "[::1]:2", "127.0.0.1:3"))
    assert [str(ports.listen.public), str(ports.listen.peer)] == ["0.0.0.0:1", "[::1]:2"]
    assert ports.listen.http == Address("127.0.0.1", 3)


def test_examples_of_default_toml_are_valid() -> None:
    text = default_toml("north.example")
    opened = "\n".join(
        line.removeprefix("# ") if line.startswith(("# [", "# advertise")) or " = " in line else line
        for line in text.splitlines()
    )
    config = decode(opened)
    assert {type(table).__name__ for table in config.backend} == {
        "PythonTable",
        "McpTable",
        "RagTable",
        "TextTable",
        "ConformanceTable",
    }
    assert config.offers()["text/essay"].prices == {"text.output.byte": Rational(1, 10)}
    assert config.listen.advertise_public is not None


@pytest.mark.parametrize(
    ("written", "numerator", "denominator"),
    [
        ("50", 50, 1),
        ('"50"', 50, 1),
        ('"1/10"', 1, 10),
        ('"1.10"', 11, 10),
        ('"22/20"', 11, 10),
        ("0", 0, 1),
        ('"0.000001"', 1, 1_000_000),
        ('"9223372036854775807"', 2**63 - 1, 1),
    ],
)
def test_prices_are_exact(written: str, numerator: int, denominator: int) -> None:
    (table,) = read(RAG + f"prices = {{ order = {written} }}").backend
    price = offer_terms(table)["a"].prices["order"]
    assert (price.numerator, price.denominator) == (numerator, denominator)


@pytest.mark.parametrize(
    "written",
    [
        "0.1",
        "-1",
        '"-1"',
        '"1e3"',
        '"1/0"',
        '""',
        '"1/2/3"',
        '"9223372036854775808"',
        "true",
        '"\u0661"',
        "[]",
        '"1_0"',
    ],
)
def test_what_is_no_price(written: str) -> None:
    found = error(RAG + f"prices = {{ 'rag.query' = 1, order = {written} }}")
    assert found.path == "backend[0].prices.order"
    assert "an exact rational in quotes" in found.expected


@pytest.mark.parametrize(
    ("text", "path", "found", "expected"),
    [
        ("[nope]", "nope", "an unknown key", "one of: asset, backend, grid,"),
        ("[limits]\nordres = 1", "limits.ordres", "an unknown key", "one of: hops, input_bytes, orders,"),
        ('[limits]\norders = "many"', "limits.orders", '"many"', "orders, 1 to 1000000"),
        ("[limits]\norders = 0", "limits.orders", "0", "orders, 1 to 1000000"),
        ("[limits]\nretention_days = 6", "limits.retention_days", "6", "days, 7 to 365"),
        ('[listen]\npublic = "127.0.0.1"', "listen.public", '"127.0.0.1"', "an address in quotes"),
        ('[listen]\npeer = "a:70000"', "listen.peer", '"a:70000"', "an address in quotes"),
        ('[listen]\nadvertise_peer = "a:0"', "listen.advertise_peer", '"a:0"', "a port above 0"),
        ('[listen]\npeer = "a:0"', "listen.peer", '"a:0"', "a port above 0, unless advertise_peer says"),
        ("[relay]\nmarkup = 1.1", "relay.markup", "1.1", "an exact rational in quotes"),
        ('[relay]\nallow = "yes"', "relay.allow", '"yes"', "bool"),
        ("[asset]\nscale = 2", "asset.scale", "2", "6, as XTS is registered"),
        ('[[backend]]\ntype = "z"', "backend[0].type", '"z"', 'one of: "python", "mcp", "rag",'),
        ("[[backend]]\nprices = {}", "backend[0].type", "nothing", 'one of: "python", "mcp", "rag",'),
        ("backend = 3", "grid.backend", "an unknown key", "one of: name, place"),
        (RAG + '[[backend]]\ntype = "python"', "backend[1].target", "nothing", "path/to/file.py"),
        (RAG + 'charge_on = "never"', "backend[0].charge_on", '"never"', 'one of: "usage", "completion"'),
        (
            RAG + "prices = { 'rag.qery' = 1 }",
            'backend[0].prices."rag.qery"',
            "an unknown unit",
            "x-… or one of:",
        ),
        (RAG + 'place = "Germany"', "backend[0].place", '"Germany"', "an ISO 3166 code"),
        (RAG + "folder2 = 1", "backend[0].folder2", "an unknown key", "one of: cache, charge_on,"),
        (RAG + "tags = ['a', 'B!']", "backend[0].tags[1]", '"B!"', "a tag: 1 to 64"),
        (MCP + "tools = {}", "backend[0].tools", "a table", "at least one tool"),
        (
            MCP + "tools = { a = { offer = 'a' }, b = { offer = 'B' } }",
            "backend[0].tools.b.offer",
            '"B"',
            "an offer",
        ),
        (
            MCP + "tools = { a = { offer = 'a', bond = {} } }",
            "backend[0].tools.a.bond",
            "an unknown key",
            "bound,",
        ),
        (
            RAG + MCP + "tools = { t = { offer = 'a' } }",
            "backend[1].tools.t.offer",
            '"a"',
            "a name that is not in use; backend[0] has it",
        ),
        (
            RAG + "energy = { 'rag.query' = { millijoules = 1, lower = 2, upper = 3, method = 'measured', "
            "boundary = 'server' } }",
            'backend[0].energy."rag.query"',
            "2, 1, 3",
            "lower ≤ millijoules ≤ upper",
        ),
        (
            "[relay]\nallow = true\ntolerated_outage_ms = 3600000",
            "relay.tolerated_outage_ms",
            "3600000",
            "less than peering.claim_window_ms",
        ),
        (
            '[[backend]]\ntype = "conformance"\nprices = { echo = {} }',
            'backend[0].prices."echo"',
            "an unknown key",
            "one of: conformance/echo,",
        ),
    ],
)
def test_errors_name_key_found_and_expected(text: str, path: str, found: str, expected: str) -> None:
    caught = error(text)
    assert (caught.path, caught.found) == (path, found)
    assert expected in caught.expected
    assert caught.reason == "INVALID_ARGUMENT"
    assert caught.metadata == {"field": path}
    assert caught.message == f"{path}: found {found}; expected {caught.expected}"


@pytest.mark.parametrize("name", ["North.example", "a..b", "-a", "a_b", "", "a" * 64, ("a" * 60 + ".") * 5])
def test_grid_names(name: str) -> None:
    with pytest.raises(ConfigError, match="a DNS name"):
        decode(f'[grid]\nname = "{name}"')


def test_too_many_prices() -> None:
    prices = ", ".join(f"x-{number} = 1" for number in range(17))
    assert error(RAG + f"prices = {{ {prices} }}").expected == "at most 16 priced units"


def test_paths_are_taken_from_the_files_folder() -> None:
    rag, python, mcp = read(
        RAG + 'cache = "/var/index"\n[[backend]]\ntype = "python"\noffer = "b"\ntarget = "a.py:f"\n' + MCP + "tools = "
        '{ t = { offer = "c", bound = { repo_path = "." } } }'
    ).backend
    assert isinstance(rag, RagTable) and isinstance(python, PythonTable) and isinstance(mcp, McpTable)
    assert (rag.folder, rag.cache) == (FOLDER / "docs", Path("/var/index"))
    assert (python.folder, mcp.cwd) == (FOLDER, FOLDER)
    assert mcp.tools["t"].bound == {"repo_path": "."}


def test_conformance_prices_can_be_replaced() -> None:
    config = read('[[backend]]\ntype = "conformance"\nprices = { "conformance/echo" = { order = "1/3" } }')
    assert config.offers()["conformance/echo"].prices == {"order": Rational(1, 3)}
    assert config.offers()["conformance/stream"].prices["text.output.byte"] == Rational(1, 10)


@pytest.mark.parametrize(
    ("text", "host", "loopback"),
    [
        ("127.0.0.1:0", "127.0.0.1", True),
        ("[::1]:9", "::1", True),
        ("a.b:1", "a.b", False),
        ("[::]:1", "::", False),
    ],
)
def test_addresses(text: str, host: str, loopback: bool) -> None:
    address = Address.parse(text)
    assert (str(address), address.host, address.is_loopback) == (text, host, loopback)


def test_load_leads_with_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    with pytest.raises(ConfigError, match="No such file"):
        load(path)
    path.write_text("grid = [")
    with pytest.raises(ConfigError, match=r"node\.toml: found .*end of document.*; expected TOML"):
        load(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(path)
    path.write_text(GRID + "[asset]\nname = 3")
    with pytest.raises(ConfigError, match=r"node\.toml: asset\.name: found 3; expected an asset"):
        load(path)
    path.write_text(GRID + RAG)
    (table,) = load(path).backend
    assert isinstance(table, RagTable)
    assert table.folder == tmp_path / "docs"


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ('loopback = "10.0.0.1:7463"', "listen.loopback", "a loopback address"),
        ('loopback = "example.com:7463"', "listen.loopback", "a loopback address"),
        ('public = "127.0.0.1:7461"', "listen.peer", "that of listen.public"),
        ('http = "0.0.0.0:7460"', "listen.http", "that of listen.public"),
    ],
)
def test_faces_that_cannot_listen_are_named(text: str, path: str, expected: str) -> None:
    found = error(f"[listen]\n{text}\n")
    assert found.path == path
    assert expected in found.expected


def test_faces_may_share_a_port_of_different_hosts_and_the_free_one() -> None:
    read('[listen]\npublic = "127.0.0.1:7461"\npeer = "127.0.0.2:7461"\n')
    read('[listen]\nloopback = "127.0.0.1:0"\nhttp = "127.0.0.1:0"\n')


def test_an_error_of_the_whole_file_names_no_field() -> None:
    with pytest.raises(ConfigError) as caught:
        decode("= 1")
    assert caught.value.metadata == {}
    assert error("[nonsense]").metadata == {"field": "nonsense"}
