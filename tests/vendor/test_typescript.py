"""Two implementations of the standard trade with each other: the reference node, and the one in TypeScript.

The second was written from the RFCs alone. Run by `make vendor`, which installs what it needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from tests.federation.grids import GridProcess, run, serving, until
from tests.federation.hostile import Hostile

from intertie import agreements, descriptors
from intertie.client import Client
from intertie.errors import IntertieError
from intertie.v1 import directory_pb2 as dr
from intertie.v1.envelope_pb2 import Envelope
from intertie_node.adapters.grpc.strangers import DirectoryCalls
from intertie_node.ports import Reach

HERE: Final = Path(__file__).resolve().parents[2] / "conformance" / "vendors" / "typescript"
READY_S: Final = 40.0


class Foreign:
    """A node in TypeScript, driven by lines of JSON."""

    def __init__(self, process: Process, reached: dict[str, Any]) -> None:
        self._process = process
        self.public: str = reached["public"]
        self.consumer: str = reached["consumer"]
        self.token: str = reached["token"]

    async def ask(self, **command: str) -> Any:
        """What its operator is answered."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        return await _line(self._process)

    async def owed(self) -> tuple[int, int]:
        """What it owes and what it is owed on its only link, minor units, as both sides have signed."""
        (link,) = await self.ask(do="links")
        return int(link["owed"]), int(link["due"])


async def _line(process: Process) -> Any:
    assert process.stdout is not None
    async with asyncio.timeout(READY_S):
        return json.loads(await process.stdout.readline())


@contextlib.asynccontextmanager
async def foreign(folder: Path, name: str) -> AsyncIterator[Foreign]:
    """A node in TypeScript while it is needed."""
    process = await asyncio.create_subprocess_exec(
        "node", "--import", "tsx", "src/main.ts", cwd=HERE, stdin=PIPE, stdout=PIPE,
        env={**os.environ, "DIR": str(folder), "GRID": name, "ACCEPT": "auto"},
    )  # fmt: skip
    try:
        yield Foreign(process, await _line(process))
    finally:
        process.kill()
        await process.wait()


async def _peered(north: GridProcess, other: Foreign) -> None:
    """The reference node proposes, and comes to know what the other sells."""
    itself = await other.ask(do="self")
    await north.must("peer", "propose", other.public, "--fingerprint", itself["fingerprint"])

    async def sells() -> bool:
        return "node-ts.example/conformance/echo" in await north.offers()

    await until(sells, "the offers of the other grid", READY_S)


async def _is(other: Foreign, wanted: tuple[int, int]) -> bool:
    return await other.owed() == wanted


async def test_each_buys_from_the_other(tmp_path: Path) -> None:
    async with serving(tmp_path, "north.example") as north, foreign(tmp_path / "ts", "node-ts.example") as other:
        await _peered(north, other)
        token = await north.token("alice", 1_000_000)
        ran = await north.call(token, "node-ts.example/conformance/echo", {"from": "north"})
        assert (ran.status, ran.json()["output"], ran.json()["charge"]) == (0, {"from": "north"}, "10")
        assert ran.json()["executed_by"] == "node-ts.example"
        streamed = {"chunks": 20, "bytes": 400}
        streamed_for = await north.call(token, "node-ts.example/conformance/stream", streamed)
        assert (streamed_for.status, len(streamed_for.json()["output"])) == (0, 8_000)
        async with Client(other.consumer, other.token, insecure=True) as consumer:
            result = await consumer.call("north.example/conformance/echo", {"from": "the other"}, max_charge=1_000)
            assert (result.json(), result.charge) == ({"from": "the other"}, 10)
            assert result.executed_by == "north.example"
        spent = 10 + int(streamed_for.json()["charge"])
        await until(lambda: _is(other, (10, spent)), "totals that both sides have signed", READY_S)
        file = tmp_path / "both.intertie"
        await north.must("ledger", "export", "node-ts.example", "--out", str(file))
        report = (await run("ledger", "verify", str(file), "--json")).json()
        assert report["ok"] is True
        assert report["proofs"]["faulty"] == []
        assert [lane["agreed"] for lane in report["lanes"]] == [str(spent), "10"]


async def test_a_receipt_outlives_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "ts"
    async with serving(tmp_path, "north.example") as north, foreign(folder, "node-ts.example") as other:
        await _peered(north, other)
        async with Client(other.consumer, other.token, insecure=True) as consumer:
            result = await consumer.call("north.example/conformance/echo", {"from": "the other"}, max_charge=1_000)
            before = (await consumer.get(result.id)).receipt
    assert (before.charge, before.executed_by) == (10, "north.example")
    async with (
        foreign(folder, "node-ts.example") as again,
        Client(again.consumer, again.token, insecure=True) as consumer,
    ):
        assert (await consumer.get(result.id)).receipt == before


def _padded(sealed: bytes, size: int) -> bytes:
    """An envelope that a stranger has signed too, at such length that it has this many bytes."""
    padded = Envelope.FromString(sealed)
    ballast = padded.signatures.add(key_id=b"nobody")
    # Two bytes more for each of two lengths, and two for the field itself.
    ballast.value = bytes(size - padded.ByteSize() - 6)
    assert padded.ByteSize() == size
    return padded.SerializeToString()


async def test_an_agreement_that_fits_no_entry_is_refused(tmp_path: Path) -> None:
    """IT-PEE-005; and where only its own signature makes it too large, the acceptor leaves it undecided."""
    async with foreign(tmp_path / "ts", "node-ts.example") as other:
        itself = descriptors.verify_chain(await DirectoryCalls().descriptors(other.public))
        rogue, reach = Hostile("rogue.example"), Reach(itself.grid, (other.public,), itself.certificates)

        async def propose(size: int) -> dr.ProposeResponse:
            sealed = _padded(rogue.proposal_to(itself), size)
            return await DirectoryCalls().propose(reach, dr.ProposeRequest(descriptors=rogue.chain, agreement=sealed))

        with pytest.raises(IntertieError, match="INVALID_ARGUMENT"):
            await propose(agreements.MAX_BYTES + 1)
        assert (await propose(agreements.MAX_BYTES)).state == dr.PROPOSAL_STATE_PENDING
        answer = await propose(agreements.MAX_BYTES - 200)
        assert answer.state == dr.PROPOSAL_STATE_ACCEPTED
        assert agreements.verify(answer.agreement, descriptors.verify_chain(rogue.chain), itself).countersigned
