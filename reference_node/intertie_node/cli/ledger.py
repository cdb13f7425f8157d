"""`intertie ledger`: books, logs, exported proofs."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intertie_node.cli.options import After, Force, JsonFlag, Limit, NodeDir, group

if TYPE_CHECKING:
    from intertie_node.operator_api import BalanceView, EntryView, Page, TrialBalance

app = group(
    "Books, logs and proofs.\n\nBalances, entries, and files that prove to anyone what two grids owe each other.\n\n"
    "Example: intertie ledger balance --dir north"
)
Which = Annotated[str, typer.Argument(help="The peer's name, or the first digits of the peering's genesis.")]


@app.command("balance")
def balance(folder: NodeDir, as_json: JsonFlag = False) -> None:
    """Show the trial balance of each asset: debits and credits must be equal.

    Example: intertie ledger balance --dir north
    """
    from intertie_node.cli.node_client import NodeClient
    from intertie_node.cli.showing import show_json
    from intertie_node.operator_api import Page, TrialBalance

    page = NodeClient(folder).get("/v1/balances", Page[TrialBalance])
    if as_json:
        show_json(page)
    else:
        for trial in page.items:
            _show_trial(trial)
    raise typer.Exit(0 if all(trial.balanced for trial in page.items) else 1)


def _show_trial(trial: "TrialBalance") -> None:
    from intertie.amounts import format_amount
    from intertie_node.cli.showing import show_table

    rows = [
        (
            _title(view),
            format_amount(view.debits, trial.scale),
            format_amount(view.credits, trial.scale),
            format_amount(view.debits - view.credits, trial.scale),
        )
        for view in trial.accounts
    ]
    debits, credits = format_amount(trial.debits, trial.scale), format_amount(trial.credits, trial.scale)
    rows.append(("total: balanced" if trial.balanced else "total: NOT BALANCED", debits, credits, ""))
    show_table((f"account ({trial.asset})", ">debits", ">credits", ">balance"), rows, empty="")


def _title(view: "BalanceView") -> str:
    if not view.peer:
        return view.account
    return f"{view.account.partition('/')[0]}/{view.peer}" + (f" for {view.upstream}" if view.upstream else "")


@app.command("log")
def log(
    which: Which,
    folder: NodeDir,
    limit: Limit = 50,
    after: After = "",
    last: Annotated[bool, typer.Option("--last", help="Show the newest entries instead of the first.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show both logs of a link, interleaved as they grew.

    Example: intertie ledger log south.example --last -n 20 --dir north
    """
    from intertie_node.cli.node_client import NodeClient, part
    from intertie_node.cli.showing import show_json
    from intertie_node.operator_api import EntryView, Page

    where = f"/v1/peerings/{part(which)}/log"
    page = NodeClient(folder).get(where, Page[EntryView], limit=limit, after=after, last="1" if last else "")
    if as_json:
        show_json(page)
    else:
        _show_entries(page)


def _show_entries(page: "Page[EntryView]") -> None:
    from intertie_node.cli.showing import show_table, when

    rows = [(view.writer, str(view.seq), str(view.seen), when(view.at), view.kind, _gist(view)) for view in page.items]
    columns = ("writer", ">seq", ">seen", "at", "kind", "says")
    show_table(columns, rows, empty="no entries", next_page=page.next)


def _gist(view: "EntryView") -> str:
    """The fields of an entry that are short."""
    return " ".join(
        f"{key}={value}"
        for key, value in view.body.items()
        if not isinstance(value, list | dict) and len(str(value)) <= 40
    )


@app.command("credit")
def credit(
    order: Annotated[str, typer.Argument(help="Id of the invocation, or PEER/SEQ of the order in the peer's log.")],
    amount: Annotated[int, typer.Option("--amount", min=1, help="How much is taken back, minor units.")],
    folder: NodeDir,
    comment: Annotated[str, typer.Option(help="For the peer's people, at most 256 characters.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Take back part of what was charged to a peer for an order.

    It cannot be undone. The peer owes that much less; grids between pass it on, and the consumer's budget gets it back.

    Example: intertie ledger credit north.example/12 --amount 500 --dir south
    """
    from intertie_node.cli.node_client import NodeClient
    from intertie_node.cli.showing import show_json
    from intertie_node.operator_api import Amount, CreditRequest, CreditView

    made = NodeClient(folder).post("/v1/credits", CreditView, CreditRequest(order, Amount(amount), comment))
    if as_json:
        show_json(made)
    else:
        print(
            f"credited {int(made.amount)} to {made.peer} for its order {made.order_seq}; {int(made.left)} stay charged"
        )


@app.command("withdraw")
def withdraw(
    entry: Annotated[str, typer.Argument(help="PEER/SEQ of the refused entry in the peer's log.")],
    folder: NodeDir,
    as_json: JsonFlag = False,
) -> None:
    """Take an own refusal of a charge back: it is agreed to from then on.

    Example: intertie ledger withdraw south.example/31 --dir north
    """
    from intertie_node.cli.node_client import NodeClient
    from intertie_node.cli.showing import show_json
    from intertie_node.operator_api import WithdrawRequest, WithdrawView

    made = NodeClient(folder).post("/v1/withdrawals", WithdrawView, WithdrawRequest(entry))
    if as_json:
        show_json(made)
    else:
        print(f"the refusal of entry {made.entry_seq} of {made.peer} is taken back")


@app.command("export")
def export(
    which: Which,
    folder: NodeDir,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, as NAME.intertie; - for standard output.")],
    force: Force = False,
    as_json: JsonFlag = False,
) -> None:
    """Write a link's file: both logs with every signature. Anyone can verify it without asking either grid.

    An earlier export of the same name is replaced, any other file only with --force.

    Example: intertie ledger export south.example -o south.intertie --dir north
    """
    from intertie_node.cli.exporting import is_export, saved
    from intertie_node.cli.failing import usage
    from intertie_node.cli.showing import show_json
    from intertie_node.cli.writing import STDOUT, check_free

    to_stdout = out == STDOUT
    if to_stdout and as_json:
        raise usage("standard output cannot have both the file and JSON", "--out")
    check_free(out, "--out", is_export, force=force)
    size = saved(folder, which, out, quiet=as_json or not sys.stderr.isatty())
    if as_json:
        show_json({"file": str(out), "bytes": size})
    elif to_stdout:
        print(f"wrote {size} bytes", file=sys.stderr)
    else:
        print(f"wrote {out}: {size} bytes; intertie ledger verify {out} checks it")


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="An exported file; - for standard input.")],
    as_json: JsonFlag = False,
) -> None:
    """Verify an exported link offline: identities, every signature, every rule, all totals. Exit status 1 if not.

    Example: intertie ledger verify south.intertie
    """
    from intertie_node.cli.showing import show_json
    from intertie_node.cli.verifying import plain, show_report, verified

    report = verified(file, quiet=as_json or not sys.stderr.isatty())
    if as_json:
        show_json(plain(report))
    else:
        show_report(report)
    raise typer.Exit(0 if report.ok else 1)
