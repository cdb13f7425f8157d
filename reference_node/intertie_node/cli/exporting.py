"""`intertie ledger export`: fetching a link's file from its node."""

from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError
from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

from intertie.errors import IntertieError
from intertie.v1.export_pb2 import ExportRecord
from intertie_node.cli.failing import interruptible
from intertie_node.cli.node_client import NodeClient, part
from intertie_node.cli.showing import console
from intertie_node.cli.writing import written
from intertie_node.core.export_file import unframed


def saved(folder: Path, which: str, out: Path, *, quiet: bool) -> int:
    """Write the file of a peer's link to `out`, - for standard output; returns its size in bytes.

    Raises: IntertieError as the node refuses it, OSError as it cannot be written; nothing is left then.
    """
    pieces, size = NodeClient(folder).pieces(f"/v1/peerings/{part(which)}/export"), 0
    columns = (SpinnerColumn(), TextColumn("exporting"), DownloadColumn(), TransferSpeedColumn())
    with interruptible(), Progress(*columns, console=console(error=True), transient=True, disable=quiet) as progress:
        task = progress.add_task("export", total=None)
        with written(out) as file:
            for piece in pieces:
                file.write(piece)
                size += len(piece)
                progress.update(task, completed=size)
    return size


def is_export(file: BinaryIO) -> bool:
    """Whether a file begins like an exported link."""
    try:
        record = next(unframed(file.read), b"")
        return ExportRecord.FromString(record).HasField("header")
    except (IntertieError, DecodeError):
        return False
