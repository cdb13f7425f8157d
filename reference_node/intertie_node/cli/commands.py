"""All commands, put together. The modules of the groups import what is heavy only when a command runs."""

from importlib import import_module
from importlib.util import find_spec

import typer

from intertie_node.cli import consumer, descriptor, invocations, ledger, peer, serve, setup, token
from intertie_node.cli.options import group, versioned

app = group(
    "An Intertie node: peer with other AI grids, sell and buy work, meter it, prove what is owed.\n\n"
    "Example: intertie init north --grid north.example && intertie serve north"
)
app.callback()(versioned)
app.command("init")(setup.init)
app.command("check")(setup.check)
app.command("serve")(serve.serve)
app.command("status")(serve.status)
app.add_typer(descriptor.app, name="descriptor")
app.add_typer(peer.app, name="peer")
app.add_typer(token.app, name="token")
app.add_typer(consumer.offers, name="offers")
app.command("call")(consumer.call)
app.add_typer(invocations.app, name="invocations")
app.add_typer(ledger.app, name="ledger")

if find_spec("intertie_node.cli.demo") is not None:
    demo: typer.Typer = import_module("intertie_node.cli.demo").app
    app.add_typer(demo, name="demo")
