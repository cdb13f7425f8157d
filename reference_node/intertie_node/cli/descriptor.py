"""`intertie descriptor`."""

from pathlib import Path
from typing import Annotated

import typer

from intertie_node.cli.options import JsonFlag, NodeDir, group

app = group("This grid's signed descriptor: keys, addresses.")


@app.command("show")
def show(folder: NodeDir, as_json: JsonFlag = False) -> None:
    """Show the descriptor in force; tell the fingerprint to operators who want to peer with you.

    Example: intertie descriptor show --dir north
    """
    from intertie_node.cli.node_client import NodeClient
    from intertie_node.cli.showing import show_json, show_pairs
    from intertie_node.operator_api import DescriptorView

    found = NodeClient(folder).get("/v1/descriptor", DescriptorView)
    if as_json:
        show_json(found)
        return
    show_pairs(
        [
            ("grid", found.grid),
            ("fingerprint", found.fingerprint),
            ("version", str(found.version)),
            ("place", found.place),
            ("public", " ".join(found.public_endpoints)),
            ("peer", " ".join(found.peer_endpoints)),
            ("signing keys", " ".join(found.signing_keys)),
            ("certificates", " ".join(found.certificates)),
        ]
    )


@app.command("export")
def export(
    folder: NodeDir,
    out: Annotated[Path, typer.Argument(help="File to write.")],
    as_json: JsonFlag = False,
) -> None:
    """Write the descriptor chain as JSON: {grid, fingerprint, chain of base64 envelopes}.

    Example: intertie descriptor export north.descriptor.json --dir north
    """
    from intertie_node.cli.node_client import NodeClient
    from intertie_node.cli.showing import show_json
    from intertie_node.operator_api import DescriptorView, encode

    found = NodeClient(folder).get("/v1/descriptor", DescriptorView)
    chain = {"grid": found.grid, "fingerprint": found.fingerprint, "chain": found.chain}
    out.write_bytes(encode(chain) + b"\n")
    if as_json:
        show_json({"grid": found.grid, "version": found.version, "file": str(out)})
    else:
        print(f"wrote {out}: {found.grid}, version {found.version}")
