"""`intertie token`: consumer accounts and their tokens."""

from typing import Annotated

import typer

from intertie_node.cli.options import After, JsonFlag, Limit, NodeDir, group

app = group(
    "Consumer accounts: a budget and a token each.\n\nExample: intertie token create alice --budget 5000000 --dir north"
)


@app.command("create")
def create(
    account: Annotated[str, typer.Argument(help="The account's name.")],
    folder: NodeDir,
    budget: Annotated[int, typer.Option(min=0, help="Most that it may spend in all: minor units of the asset.")],
    as_json: JsonFlag = False,
) -> None:
    """Make an account, or give one whose token was revoked a new one. The token is shown once.

    Example: intertie token create alice --budget 5000000 --dir north
    """
    from intertie_node.cli.node_client import NodeClient
    from intertie_node.cli.showing import console, show_json
    from intertie_node.operator_api import Amount, TokenMade, TokenRequest

    made = NodeClient(folder).post("/v1/accounts", TokenMade, TokenRequest(account, Amount(budget)))
    if as_json:
        show_json(made)
        return
    print(made.token)
    console(error=True).print("Keep it: it is not shown again. Consumers set it as INTERTIE_TOKEN.")


@app.command("list")
def list_accounts(folder: NodeDir, limit: Limit = 50, after: After = "", as_json: JsonFlag = False) -> None:
    """List accounts with what they have spent.

    Example: intertie token list --dir north
    """
    from intertie_node.cli.node_client import NodeClient
    from intertie_node.cli.showing import money, show_json, show_table, when
    from intertie_node.operator_api import AccountView, Page, Status

    node = NodeClient(folder)
    page = node.get("/v1/accounts", Page[AccountView], limit=limit, after=after)
    if as_json:
        show_json(page)
        return
    status = node.get("/v1/status", Status)
    asset = (status.asset, status.scale)
    rows = [
        (
            view.account,
            money(view.budget, *asset),
            money(view.reserved, *asset),
            money(view.spent, *asset),
            money(view.left, *asset),
            when(view.created_at),
            when(view.revoked_at) or "valid",
        )
        for view in page.items
    ]
    columns = ("account", ">budget", ">reserved", ">spent", ">left", "created", "token")
    show_table(columns, rows, empty="no accounts: intertie token create makes one", next_page=page.next)


@app.command("revoke")
def revoke(
    account: Annotated[str, typer.Argument(help="The account's name.")], folder: NodeDir, as_json: JsonFlag = False
) -> None:
    """Make an account's token worthless at once; what it has started goes on.

    Example: intertie token revoke alice --dir north
    """
    from intertie_node.cli.node_client import NodeClient, part
    from intertie_node.cli.showing import show_json
    from intertie_node.operator_api import AccountView

    view = NodeClient(folder).post(f"/v1/accounts/{part(account)}/revoke", AccountView)
    if as_json:
        show_json(view)
    else:
        print(f"revoked the token of {view.account}")
