"""`intertie invocations`: with a token one's own, with --dir alone all of the node's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from intertie_node.cli.options import After, JsonFlag, Limit, PerhapsDir, Target, TlsRoot, Token, group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from intertie.v1.invocation_pb2 import InvocationStatus
    from intertie_node.cli.consuming import Reach
    from intertie_node.operator_api import InvocationView, Page

app = group(
    "Invocations, your own or the node's.\n\nWith a token: your own. With --dir alone, as the node's operator: those "
    "of every account and peer.\n\nExample: intertie invocations list --dir north"
)
Id = Annotated[str, typer.Argument(help="The invocation's id.")]
States = Annotated[list[str] | None, typer.Option("--state", help="Only in this state, as COMPLETED; repeatable.")]
Account = Annotated[str, typer.Option(help="Only of this account; operators only.")]


@app.command("list")
def list_invocations(
    folder: PerhapsDir = None,
    token: Token = None,
    target: Target = None,
    tls_root: TlsRoot = None,
    state: States = None,
    account: Account = "",
    limit: Limit = 50,
    after: After = "",
    as_json: JsonFlag = False,
) -> None:
    """List invocations, newest first.

    Example: intertie invocations list --state WORKING --dir north
    """
    from intertie_node.cli.showing import show_json

    reach, states = _reach(folder, token, target, tls_root), state or []
    if reach.is_operator:
        page = _node(reach, "GET", states=",".join(states), account=account, limit=limit, after=after)
    else:
        page = _own(reach, states, account, after, limit)
    if as_json:
        show_json(page)
    else:
        _show_table(page)


def _reach(*given: Any) -> Reach:
    from intertie_node.cli.consuming import Reach

    return Reach(*given)


def _node(reach: Reach, method: str, path: str = "", **query: Any) -> Page[InvocationView]:
    from intertie_node.cli.node_client import NodeClient
    from intertie_node.operator_api import InvocationView, Page

    assert reach.folder is not None
    node, where = NodeClient(reach.folder), f"/v1/invocations{path}"
    if method == "GET":
        return node.get(where, Page[InvocationView], **query)
    return node.post(where, Page[InvocationView])


def _own(reach: Reach, states: Sequence[str], account: str, after: str, limit: int) -> Page[InvocationView]:
    from intertie.errors import IntertieError
    from intertie.v1.task_pb2 import TaskState
    from intertie_node.cli.consuming import ask, gathered
    from intertie_node.cli.failing import usage
    from intertie_node.operator_api import Page

    if account:
        raise usage("only the operator asks by account: leave the token away", "--account")
    wanted = [state.upper() for state in states]
    for name in wanted:
        if f"TASK_STATE_{name}" not in dict(TaskState.items()):
            raise IntertieError("INVALID_ARGUMENT", f"No state is {name}: COMPLETED, WORKING, …", field="state")

    async def act(client: Any) -> Page[InvocationStatus]:
        return await gathered(lambda after, size: client.list_page(*wanted, after=after, size=size), after, limit)

    found = ask(reach, act)
    return Page([_view(status) for status in found.items], found.next)


def _view(status: InvocationStatus) -> InvocationView:
    from intertie_node.services.views import of_status

    return of_status(status, "", is_order=False)


def _show_table(page: Page[InvocationView]) -> None:
    from intertie_node.cli.showing import show_table, when

    named = any(view.caller for view in page.items)  # one's own have no caller but oneself
    rows = [
        (
            view.id,
            *([("order of " if view.is_order else "") + view.caller] if named else []),
            view.offer,
            view.state,
            str(view.charge),
            when(view.created_at),
            when(view.ended_at),
            view.problem.reason if view.problem else "",
        )
        for view in page.items
    ]
    caller = ["caller"] if named else []
    columns = ("id", *caller, "offer", "state", ">charge, minor units", "created", "ended", "problem")
    show_table(columns, rows, empty="no invocations", next_page=page.next)


@app.command("show")
def show(
    id: Id,
    folder: PerhapsDir = None,
    token: Token = None,
    target: Target = None,
    tls_root: TlsRoot = None,
    as_json: JsonFlag = False,
) -> None:
    """Show one invocation.

    Example: intertie invocations show 0195f0c2-… --dir north
    """
    _one(id, _reach(folder, token, target, tls_root), "GET", as_json)


@app.command("cancel")
def cancel(
    id: Id,
    folder: PerhapsDir = None,
    token: Token = None,
    target: Target = None,
    tls_root: TlsRoot = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask an invocation to stop; show how it stands.

    Example: intertie invocations cancel 0195f0c2-… --dir north
    """
    _one(id, _reach(folder, token, target, tls_root), "POST", as_json)


def _one(id: str, reach: Reach, method: str, as_json: bool) -> None:
    from intertie_node.cli.consuming import ask
    from intertie_node.cli.node_client import part
    from intertie_node.cli.showing import show_json
    from intertie_node.operator_api import Page

    if reach.is_operator:
        page = _node(reach, method, f"/{part(id)}" + ("/cancel" if method == "POST" else ""))
    else:
        status = ask(reach, lambda client: client.get(id) if method == "GET" else client.cancel(id))
        page = Page([_view(status)])
    if as_json:
        show_json(page)
    else:
        _show_pairs(page)


def _show_pairs(page: Page[InvocationView]) -> None:
    from intertie_node.cli.showing import show_pairs, when

    for view in page.items:
        show_pairs(
            [
                ("id", view.id),
                ("caller", ("order of " if view.is_order else "") + view.caller),
                ("offer", view.offer),
                ("state", view.state),
                ("created", when(view.created_at)),
                ("ended", when(view.ended_at)),
                ("most it may cost", f"{view.reserved} minor units"),
                ("charge", "" if view.is_order else f"{view.charge} minor units"),
                ("done by", view.executed_by),
                ("way", " → ".join(view.path)),
                ("problem", f"{view.problem.reason}: {view.problem.message}" if view.problem else ""),
            ]
        )
