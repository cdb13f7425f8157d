"""Providers that come back after their payer has ended the hold: what crossed is void, and the books say so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.federation.judge import Judge, entries, read
from tests.federation.kit import Trio, logs_of, until
from tests.federation.provoke import SOUTH, Scene, calls
from tests.federation.traffic import Made, call

from intertie.v1 import entry_pb2 as pb
from intertie_node.ports import ME


@pytest_asyncio.fixture
async def trio() -> AsyncIterator[Trio]:
    one = Trio()
    await one.start()
    yield one
    one.remove()


def written(trio: Trio, name: str, peer: str, kind: pb.EntryKind.ValueType) -> list[pb.Entry]:
    """Entries of a kind in a node's own log towards a peer."""
    log = entries(read(trio.nodes[name]), peer, ME)
    return [entry for entry in (pb.Entry.FromString(data) for _, data, _ in log) if entry.kind == kind]


@pytest.mark.parametrize(("payer", "provider"), [("hub", "south"), ("north", "hub")])
async def test_a_claim_that_crosses_the_expire(trio: Trio, payer: str, provider: str) -> None:
    made, late = Made(), trio.nodes[provider]
    late.kill()
    late.start("after_commit:charge:1")
    await trio.connected()
    async with trio.client() as client:
        doomed = asyncio.create_task(call(client, made, f"{SOUTH}/once", seconds=1.2))
        await late.crashed()

        async def expired() -> bool:
            return bool(written(trio, payer, provider, pb.ENTRY_KIND_EXPIRE))

        await until("the payer ends the hold", expired)
        late.start()
        await trio.connected()
        await doomed
        await calls(Scene(trio, late, client, made))
    faults = await Judge(trio).verdict(made)
    assert not faults, "\n".join([*faults, logs_of(trio.nodes.values())])
    (refused,) = written(trio, payer, provider, pb.ENTRY_KIND_REFUSE)
    assert refused.refuse.rule == "CHARGE_EXPIRED"
    assert [result.state for result in made.results.values() if result.state != "COMPLETED"] == ["FAILED"]


async def test_a_provider_that_dies_in_a_stream(trio: Trio) -> None:
    """What was claimed and agreed before stays agreed on both links; the rest is lost to the provider."""
    made = Made()
    async with trio.client() as client:
        given = {"chunks": 200, "ms": 20}
        doomed = asyncio.create_task(call(client, made, f"{SOUTH}/stream", given, first_grant=200, seconds=3.0))

        async def claimed() -> bool:
            return len(written(trio, "hub", "north", pb.ENTRY_KIND_CHARGE)) >= 2

        await until("parts are claimed", claimed)
        trio.south.kill()

        async def expired() -> bool:
            return bool(written(trio, "hub", "south", pb.ENTRY_KIND_EXPIRE))

        await until("the relay ends the hold", expired)
        trio.south.start()
        await trio.connected()
        result = await doomed
        await calls(Scene(trio, trio.south, client, made))
    faults = await Judge(trio).verdict(made)
    assert not faults, "\n".join([*faults, logs_of(trio.nodes.values())])
    assert result is not None and result.state == "FAILED"
    every = [entry.charge for entry in written(trio, "hub", "north", pb.ENTRY_KIND_CHARGE)]
    claims = [claim for claim in every if claim.order_seq == every[0].order_seq]
    assert claims[-1].final and claims[-1].amount == claims[-2].amount > 0
    assert not written(trio, "north", "hub", pb.ENTRY_KIND_REFUSE), "a claim for nothing new needs no record"
