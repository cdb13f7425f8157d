"""`intertie peer`: proposing, accepting and ending peerings."""

import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from intertie_node.cli.options import After, Fingerprint, JsonFlag, Limit, NodeDir, Yes, group

if TYPE_CHECKING:
    from intertie_node.cli.node_client import NodeClient
    from intertie_node.operator_api import LaneView, Page, PeeringView, ProposalView

app = group("Peerings with other grids, and their links.\n\nExample: intertie peer list --dir north")
_DECIDED: Final = {
    "accept": "accepted the proposal of {grid}",
    "refuse": "refused the proposal of {grid}",
    "withdraw": "withdrew the proposal to {grid}",
}
Which = Annotated[str, typer.Argument(help="The grid's name, or the first digits of its genesis or digest.")]


@app.command("propose")
def propose(
    address: Annotated[str, typer.Argument(help="host:port of the other grid's public port.")],
    folder: NodeDir,
    fingerprint: Fingerprint = None,
    yes: Yes = False,
    our_credit_limit: Annotated[int | None, typer.Option(min=0, help="Most we may owe, minor units.")] = None,
    their_credit_limit: Annotated[int | None, typer.Option(min=0, help="Most they may owe, minor units.")] = None,
    our_max_unagreed: Annotated[int | None, typer.Option(min=0, help="Most at stake with us unsigned.")] = None,
    their_max_unagreed: Annotated[int | None, typer.Option(min=0, help="Most at stake with them unsigned.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Propose a peering. Terms that are not given are those of [peering] in the configuration.

    The other grid's name is pinned to its fingerprint for ever: compare it with what its operator told you by
    another way, or give it here.

    Example: intertie peer propose grid.south.example:7460 --fingerprint 1220ab… --dir north
    """
    from intertie_node.cli.node_client import NodeClient
    from intertie_node.cli.showing import show_json
    from intertie_node.operator_api import Amount, DescriptorView, LookRequest, ProposalView, ProposeRequest

    node = NodeClient(folder)
    met = node.post("/v1/look", DescriptorView, LookRequest(address))
    _confirm(met.grid, met.fingerprint, fingerprint, yes)
    amounts = {
        "our_credit_limit": our_credit_limit,
        "their_credit_limit": their_credit_limit,
        "our_max_unagreed": our_max_unagreed,
        "their_max_unagreed": their_max_unagreed,
    }
    chosen = {name: Amount(value) for name, value in amounts.items() if value is not None}
    made = node.post(
        "/v1/proposals", ProposalView, ProposeRequest(address=address, fingerprint=met.fingerprint, **chosen)
    )
    if as_json:
        show_json(made)
    else:
        print(f"proposed {made.digest[:16]} to {made.grid}; its operator now accepts or refuses it")


def _confirm(grid: str, found: str, typed: str | None, yes: bool) -> None:
    """Raises: IntertieError DESCRIPTOR_INVALID for another fingerprint than typed; ends if it is not confirmed."""
    from intertie.errors import IntertieError

    if typed is not None:
        if "".join(typed.split()).replace(":", "").lower() != found:
            message = f"{grid} has the fingerprint {found}, not the one that was typed: do not go on."
            raise IntertieError("DESCRIPTOR_INVALID", message, field="fingerprint")
        return
    print(f"{grid} has the fingerprint\n  {found}", file=sys.stderr)
    if yes:
        return
    _ask(
        "Is it the one that its operator told you?",
        "give the one that its operator told you, or --yes",
        "--fingerprint",
    )


def _ask(question: str, otherwise: str, option: str) -> None:
    """Go on only if a person says yes. Raises: the usage error where nobody can be asked."""
    from intertie_node.cli.failing import usage

    if not sys.stdin.isatty():
        raise usage(otherwise, option)
    typer.confirm(question, abort=True, err=True)


@app.command("accept")
def accept(
    which: Which, folder: NodeDir, fingerprint: Fingerprint = None, yes: Yes = False, as_json: JsonFlag = False
) -> None:
    """Accept a proposal: the link comes up by itself.

    Example: intertie peer accept north.example --fingerprint 1220cd… --dir south
    """
    from intertie.errors import IntertieError
    from intertie_node.cli.node_client import NodeClient, part

    node = NodeClient(folder)
    waiting = [p for p in _proposals(node) if p.state == "PROPOSED" and _means(which, p)]
    meant = [p for p in waiting if p.direction == "incoming"]
    if waiting and not meant:
        _decided(node, part(waiting[0].digest), "accept", as_json)  # an own one: the node says whose it is to decide
    if not meant:
        raise IntertieError("NOT_FOUND", f"No proposal of {which} waits: intertie peer list shows those that do.")
    if len(meant) > 1:
        raise IntertieError("INVALID_ARGUMENT", f"{which} means {len(meant)} proposals: give the digest of one.")
    _confirm(meant[0].grid, meant[0].fingerprint, fingerprint, yes)
    _decided(node, part(meant[0].digest), "accept", as_json)


def _means(which: str, proposal: "ProposalView") -> bool:
    return proposal.grid == which or (len(which) >= 6 and proposal.digest.startswith(which.lower()))


def _proposals(node: "NodeClient") -> list["ProposalView"]:
    from intertie_node.operator_api import Page, ProposalView

    found: list[ProposalView] = []
    after = ""
    while True:
        page: Page[ProposalView] = node.get("/v1/proposals", Page[ProposalView], limit=500, after=after)
        found += page.items
        if not page.next:
            return found
        after = page.next


def _decided(node: "NodeClient", which: str, act: str, as_json: bool) -> None:
    from intertie_node.cli.showing import show_json
    from intertie_node.operator_api import ProposalView

    decided = node.post(f"/v1/proposals/{which}/{act}", ProposalView)
    if as_json:
        show_json(decided)
    else:
        print(_DECIDED[act].format(grid=decided.grid))


@app.command("refuse")
def refuse(which: Which, folder: NodeDir, as_json: JsonFlag = False) -> None:
    """Refuse a proposal.

    Example: intertie peer refuse north.example --dir south
    """
    from intertie_node.cli.node_client import NodeClient, part

    _decided(NodeClient(folder), part(which), "refuse", as_json)


@app.command("withdraw")
def withdraw(which: Which, folder: NodeDir, as_json: JsonFlag = False) -> None:
    """Take an own proposal back that waits. What the other grid's operator has accepted already is a peering.

    Example: intertie peer withdraw south.example --dir north
    """
    from intertie_node.cli.node_client import NodeClient, part

    _decided(NodeClient(folder), part(which), "withdraw", as_json)


@app.command("list")
def list_peers(folder: NodeDir, limit: Limit = 50, after: After = "", as_json: JsonFlag = False) -> None:
    """List peerings with their links and debts, and proposals that wait.

    Example: intertie peer list --dir north
    """
    from intertie_node.cli.node_client import NodeClient
    from intertie_node.cli.showing import show_json
    from intertie_node.operator_api import Page, PeeringView

    node = NodeClient(folder)
    peerings = node.get("/v1/peerings", Page[PeeringView], limit=limit, after=after)
    proposals = [p for p in _proposals(node) if p.state == "PROPOSED"]
    if as_json:
        show_json({"peerings": peerings.items, "next": peerings.next, "proposals": proposals})
        return
    _show_peerings(peerings)
    _show_proposals(proposals)


def _show_peerings(page: "Page[PeeringView]") -> None:
    from intertie_node.cli.showing import show_table

    rows = []
    for view in page.items:
        owed = (_owed(view, view.we_owe), _owed(view, view.they_owe))
        rows.append((view.grid, view.state, view.link, *owed, view.genesis[:16], view.closed[:80]))
    columns = ("grid", "state", "link", ">we owe", ">they owe", "genesis", "last closed")
    show_table(columns, rows, empty="no peerings: intertie peer propose ADDRESS", next_page=page.next)


def _owed(view: "PeeringView", lane: "LaneView") -> str:
    from intertie_node.cli.showing import money

    held = f" (+{lane.open_holds} open)" if lane.open_holds else ""
    return money(lane.posted, view.asset, view.scale) + held


def _show_proposals(proposals: list["ProposalView"]) -> None:
    from intertie_node.cli.showing import money, show_table, when

    if not proposals:
        return
    print("\nproposals that wait:")
    rows = []
    for view in proposals:
        asset = (view.terms.asset, view.terms.scale)
        limits = (money(view.terms.our_credit_limit, *asset), money(view.terms.their_credit_limit, *asset))
        rows.append((view.grid, view.direction, view.digest[:16], *limits, when(view.at), view.fingerprint))
    show_table(("grid", "direction", "digest", ">our limit", ">their limit", "at", "fingerprint"), rows, empty="")


def _change(which: str, folder: "NodeDir", act: str, as_json: bool) -> None:
    from intertie_node.cli.node_client import NodeClient, part
    from intertie_node.cli.showing import show_json
    from intertie_node.operator_api import PeeringView

    view = NodeClient(folder).post(f"/v1/peerings/{part(which)}/{act}", PeeringView)
    if as_json:
        show_json(view)
    else:
        print(f"the peering with {view.grid} is now {view.state}")


@app.command("suspend")
def suspend(which: Which, folder: NodeDir, as_json: JsonFlag = False) -> None:
    """Refuse new orders of a peer until resumed, and place none with it; what runs goes on.

    Example: intertie peer suspend south.example --dir north
    """
    _change(which, folder, "suspend", as_json)


@app.command("resume")
def resume(which: Which, folder: NodeDir, as_json: JsonFlag = False) -> None:
    """Take orders of a suspended peer again, and place orders with it.

    Example: intertie peer resume south.example --dir north
    """
    _change(which, folder, "resume", as_json)


@app.command("terminate")
def terminate(
    which: Which,
    folder: NodeDir,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """End a peering for good: no new orders either way; what is owed stays owed.

    Example: intertie peer terminate south.example --dir north
    """
    if not yes:
        _ask(f"End the peering with {which} for good?", "ending a peering cannot be undone: --yes says so", "--yes")
    _change(which, folder, "terminate", as_json)
