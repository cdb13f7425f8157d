"""`intertie init` and `intertie check`."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from intertie_node.cli.options import Folder, JsonFlag

if TYPE_CHECKING:
    from intertie_node.config import Address, Config

Found = tuple[str, str]
"""(what was checked, "" or what is wrong with it)."""
PRIVATE_FILES: Final = ("root.pem", "signing.pem", "tls.pem", "secret")


def init(
    folder: Folder,
    grid: Annotated[str, typer.Option(help='The grid\'s name: a DNS name, as in "north.example".')],
    public: Annotated[str, typer.Option(help="host:port for descriptor, proposals and consumers.")] = "127.0.0.1:7460",
    peer: Annotated[str, typer.Option(help="host:port for links to other grids.")] = "127.0.0.1:7461",
    loopback: Annotated[str, typer.Option(help="host:port for consumers on this machine.")] = "127.0.0.1:7463",
    http: Annotated[str | None, typer.Option(help="host:port for metrics and health; not served if absent.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a new grid: keys and a commented configuration.

    Nothing that exists is overwritten.

    Example: intertie init north --grid north.example
    """
    from intertie.errors import IntertieError
    from intertie_node import config
    from intertie_node.adapters.grpc.tls import make_certificate
    from intertie_node.cli.directory import CONFIG_NAME, KEYS_NAME
    from intertie_node.cli.showing import show_json, show_pairs
    from intertie_node.services import identity

    path = folder / CONFIG_NAME
    text = config.default_toml(grid, public, peer, http, loopback)
    config.decode(text, folder)
    if path.exists():
        raise IntertieError("INVALID_ARGUMENT", f"{path} exists already: choose another directory.")
    folder.mkdir(parents=True, exist_ok=True)
    made = identity.create(folder / KEYS_NAME, grid, make_certificate)
    path.write_text(text, encoding="utf-8")
    fingerprint = made.root.public.key_id.hex()
    if as_json:
        show_json({"grid": grid, "dir": str(folder), "config": str(path), "fingerprint": fingerprint})
        return
    show_pairs([("grid", grid), ("config", str(path)), ("fingerprint", fingerprint)])
    print(f"\nNext: intertie serve {folder}")


def check(folder: Folder, as_json: JsonFlag = False) -> None:
    """Check configuration, keys, database and ports.

    Nothing is started or changed. Exit status 1 if anything is wrong. The ports of a node that runs are not tried.

    Example: intertie check north
    """
    from intertie_node.cli.directory import load_config
    from intertie_node.cli.showing import show_json

    config = load_config(folder)
    found = list(_findings(folder, config))
    bad = [problem for _, problem in found if problem]
    if as_json:
        show_json({"ok": not bad, "checks": [{"check": what, "problem": problem} for what, problem in found]})
    else:
        for what, problem in found:
            print(f"{'wrong' if problem else 'ok   '}  {what}{f': {problem}' if problem else ''}")
    raise typer.Exit(1 if bad else 0)


def _findings(folder: Path, config: "Config") -> Iterator[Found]:
    yield f"configuration of {config.grid.name}", ""
    yield from _keys(folder)
    yield _tried("database", lambda: _schema(folder))
    holder = _holder(folder)
    if holder is not None:
        yield f"node, process {holder}" if holder else "node", _answering(folder)
        return
    listen = config.listen
    for name in ("public", "peer", "loopback", "http"):
        address = getattr(listen, name)
        if address is not None:
            yield _tried(f"{name} port {address}", partial(_bind, address))


def _tried(what: str, act: Callable[[], None]) -> Found:
    from intertie_node.ports import StoreFailure

    try:
        act()
    except (StoreFailure, OSError) as error:
        return what, error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return what, ""


def _keys(folder: Path) -> Iterator[Found]:
    from intertie.errors import IntertieError
    from intertie_node.cli.directory import KEYS_NAME
    from intertie_node.services import identity

    keys = folder / KEYS_NAME
    try:
        identity.load(keys)
    except IntertieError as error:
        yield "keys", error.message
        return
    for path in (keys, *(keys / name for name in PRIVATE_FILES)):
        open_to = path.stat().st_mode & 0o077
        yield f"mode of {path}", f"others may open it: chmod go= {path}" if open_to else ""


def _schema(folder: Path) -> None:
    """Look at the database without making a file beside it: what is not checkpointed yet is not looked at."""
    import sqlite3
    from contextlib import closing
    from urllib.parse import quote

    from intertie_node.adapters.storage.connect import schema_is_current, unusable
    from intertie_node.app import DATABASE

    path = folder / DATABASE
    if not path.exists():
        return
    try:
        where = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
        with closing(sqlite3.connect(where, uri=True)) as connection:
            schema_is_current(connection, path)
    except sqlite3.Error as error:
        raise unusable(path, error) from None


def _holder(folder: Path) -> int | None:
    """Process id of the node that runs on the directory, 0 if it is not known; None if none runs."""
    import fcntl

    from intertie_node.adapters.storage.lock import LOCK_NAME

    try:
        with (folder / LOCK_NAME).open("rb") as file:
            said = file.read(20).strip()
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(said) if said.isdigit() else 0
    except FileNotFoundError:
        pass
    return None


def _answering(folder: Path) -> str:
    """What is wrong with the node that runs, "" if it answers."""
    from intertie.errors import IntertieError
    from intertie_node.cli.node_client import NodeClient
    from intertie_node.operator_api import Status

    try:
        NodeClient(folder).get("/v1/status", Status)
    except IntertieError as error:
        return f"it holds the directory and does not answer: {error.message}"
    return ""


def _bind(address: "Address") -> None:
    import socket

    family, kind, _, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(where)
