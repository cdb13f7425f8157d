"""`intertie descriptor`."""

from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from intertie_node.cli.options import Force, JsonFlag, NodeDir, group

app = group("This grid's signed descriptor: keys, addresses.\n\nExample: intertie descriptor show --dir north")


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
    out: Annotated[Path, typer.Argument(help="File to write; - for standard output.")],
    force: Force = False,
    as_json: JsonFlag = False,
) -> None:
    """Write the descriptor chain as JSON: {grid, fingerprint, chain of base64 envelopes}.

    An earlier export of the same name is replaced, any other file only with --force.

    Example: intertie descriptor export north.descriptor.json --dir north
    """
    from intertie_node.cli.node_client import NodeClient
    from intertie_node.cli.showing import show_json
    from intertie_node.cli.writing import STDOUT, check_free, written
    from intertie_node.operator_api import DescriptorView, encode

    check_free(out, "OUT", _is_chain, force=force)
    found = NodeClient(folder).get("/v1/descriptor", DescriptorView)
    chain = {"grid": found.grid, "fingerprint": found.fingerprint, "chain": found.chain}
    with written(out) as file:
        file.write(encode(chain) + b"\n")
    if out == STDOUT:
        return
    if as_json:
        show_json({"grid": found.grid, "version": found.version, "file": str(out)})
    else:
        print(f"wrote {out}: {found.grid}, version {found.version}")


def _is_chain(file: BinaryIO) -> bool:
    """Whether a file begins like an exported chain."""
    return file.read(9) == b'{"grid":"'


@app.command("rotate")
def rotate(
    folder: NodeDir,
    root: Annotated[bool, typer.Option("--root", help="A new root key; the old one signs for it once.")] = False,
    signing_key: Annotated[bool, typer.Option("--signing-key", help="A new key for logs, records, offers.")] = False,
    certificate: Annotated[bool, typer.Option("--certificate", help="A new certificate beside the old one.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Replace keys: the descriptor grows by a version that peers take up by themselves.

    The node must be stopped, and is started again afterwards. Peers learn the version when their links open; the
    old certificate is presented until all of them have, and what the old signing key signed stays valid. The
    fingerprint never changes. Back the directory up again: an older copy of it has keys that peers now refuse.

    Example: intertie descriptor rotate --signing-key --certificate --dir north
    """
    from intertie_node.cli.failing import usage
    from intertie_node.cli.rotating import rotated
    from intertie_node.cli.showing import show_json
    from intertie_node.services.rotation import Chosen

    if not (root or signing_key or certificate):
        raise usage("choose what to replace", "--root / --signing-key / --certificate")
    found = rotated(folder, Chosen(root=root, signing_key=signing_key, certificate=certificate))
    if as_json:
        show_json(found)
        return
    print(f"{found.grid} has descriptor version {found.version}; the fingerprint is still {found.fingerprint}")
    print(f"Next: intertie serve {folder}")
