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

    Nothing is started or changed. Exit status 1 if anything is wrong.

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
    running = _tried("lock", lambda: _lock(folder))
    yield running
    if running[1]:
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
    from contextlib import closing

    from intertie_node.adapters.storage.connect import open_reader, schema_is_current
    from intertie_node.app import DATABASE

    path = folder / DATABASE
    if path.exists():
        with closing(open_reader(path)) as connection:
            schema_is_current(connection, path)


def _lock(folder: Path) -> None:
    from intertie_node.adapters.storage import DirectoryLock

    with DirectoryLock(folder):
        pass


def _bind(address: "Address") -> None:
    import socket

    family, kind, _, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(where)
