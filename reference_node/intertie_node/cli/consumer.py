"""`intertie offers` and `intertie call`: what a consumer does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from intertie_node.cli.options import After, JsonFlag, Limit, PerhapsDir, Target, TlsRoot, Token, group

if TYPE_CHECKING:
    from intertie.client import Client
    from intertie.v1.catalog_pb2 import ListedOffer
    from intertie_node.cli.consuming import Reach
    from intertie_node.operator_api import OfferView, Page

offers = group(
    'The catalog: what is on offer, and for how much.\n\nExample: intertie offers search "git log" --dir north'
)


@offers.command("list")
def list_offers(
    folder: PerhapsDir = None,
    token: Token = None,
    target: Target = None,
    tls_root: TlsRoot = None,
    limit: Limit = 50,
    after: After = "",
    as_json: JsonFlag = False,
) -> None:
    """List all offers. Without a token, but with --dir, the node's operator asks.

    Example: intertie offers list --dir north
    """
    _search("", _reach(folder, token, target, tls_root), limit, after, as_json)


@offers.command("search")
def search_offers(
    text: Annotated[str, typer.Argument(help="Words of name, description and tags.")],
    folder: PerhapsDir = None,
    token: Token = None,
    target: Target = None,
    tls_root: TlsRoot = None,
    limit: Limit = 50,
    after: After = "",
    as_json: JsonFlag = False,
) -> None:
    """Search offers, best first.

    Example: intertie offers search "git log" --dir north
    """
    _search(text, _reach(folder, token, target, tls_root), limit, after, as_json)


@offers.command("show")
def show_offer(
    ref: Annotated[str, typer.Argument(help='"grid/name"; "name" alone is one of this grid.')],
    folder: PerhapsDir = None,
    token: Token = None,
    target: Target = None,
    tls_root: TlsRoot = None,
    as_json: JsonFlag = False,
) -> None:
    """Show one offer in full: schemas, prices, way. Needs a token.

    Example: intertie offers show south.example/docs/ask --dir north
    """
    from intertie_node.cli.consuming import ask
    from intertie_node.cli.offering import full, pairs
    from intertie_node.cli.showing import show_json, show_pairs

    found: ListedOffer = ask(_reach(folder, token, target, tls_root), lambda client: client.get_offer(ref))
    if as_json:
        show_json(full(found))
    else:
        show_pairs(pairs(found))


def _reach(*given: Any) -> Reach:
    from intertie_node.cli.consuming import Reach

    return Reach(*given)


def _search(text: str, reach: Reach, limit: int, after: str, as_json: bool) -> None:
    from intertie_node.cli.offering import brief
    from intertie_node.cli.showing import show_json, show_table

    look = _as_operator if reach.is_operator else _as_consumer
    page = look(text, reach, limit, after)
    if as_json:
        show_json(page)
        return
    columns = ("offer", "kind", "price, minor units", "way", "description")
    show_table(columns, map(brief, page.items), empty="no offers", next_page=page.next)


def _as_operator(text: str, reach: Reach, limit: int, after: str) -> Page[OfferView]:
    from intertie_node.cli.node_client import NodeClient
    from intertie_node.operator_api import OfferView, Page

    assert reach.folder is not None
    return NodeClient(reach.folder).get("/v1/offers", Page[OfferView], text=text, limit=limit, after=after)


def _as_consumer(text: str, reach: Reach, limit: int, after: str) -> Page[OfferView]:
    from intertie_node.cli.consuming import ask, gathered
    from intertie_node.operator_api import Page
    from intertie_node.services.views import offer

    async def act(client: Client) -> Page[ListedOffer]:
        return await gathered(lambda after, size: client.search_page(text, after=after, size=size), after, limit)

    found = ask(reach, act)
    return Page([offer(item) for item in found.items], found.next)


def call(
    offer: Annotated[str, typer.Argument(help='"grid/name"; "name" alone is one of this grid.')],
    max_charge: Annotated[int, typer.Option(min=0, help="Most that it may cost: minor units of the asset.")],
    given: Annotated[str, typer.Option("--input", help="JSON, @file, or - for standard input.")] = "{}",
    stream: Annotated[bool, typer.Option("--stream", help="Print output and events as they come.")] = False,
    reply: Annotated[list[str] | None, typer.Option(help="JSON answer to an input request; repeat in order.")] = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds allowed.")] = 60.0,
    id: Annotated[str | None, typer.Option(help="UUIDv7 that you have kept: asks for the same invocation.")] = None,
    place: Annotated[list[str] | None, typer.Option(help="ISO 3166 code where it may be done; repeatable.")] = None,
    folder: PerhapsDir = None,
    token: Token = None,
    target: Target = None,
    tls_root: TlsRoot = None,
    as_json: JsonFlag = False,
) -> None:
    """Invoke an offer and print its output.

    What it cost goes to stderr. Exit status 1 unless it completed, or if the tool says that it failed.

    With --json one object with state, output, charge, path, energy is printed; with --stream --json one
    object a line for each event, the result last.

    Example: intertie call south.example/docs/ask --input '{"query": "tides"}' --max-charge 5000 --dir north
    """
    from intertie.client import new_id
    from intertie_node.cli.calling import Asked, perform
    from intertie_node.cli.consuming import read_input

    asked = Asked(
        offer=offer,
        input=read_input(given),
        replies=[read_input(text, "--reply") for text in reply or ()],
        stream=stream or bool(reply),
        as_json=as_json,
        options={"max_charge": max_charge, "timeout": timeout, "id": id or new_id(), "places": place or ()},
    )
    raise typer.Exit(perform(_reach(folder, token, target, tls_root), asked))
