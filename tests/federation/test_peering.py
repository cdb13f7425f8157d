"""Proposals are decided once, and what is decided outlives a crash (RFC 0006)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.kit.live import TERMS, LiveNode, peer, until

from intertie.errors import IntertieError
from intertie.v1 import directory_pb2 as dr
from intertie_node.app import Node
from intertie_node.core.opening import Phase
from intertie_node.core.peering import PeeringAct, PeeringState
from intertie_node.services import peerings
from intertie_node.services.peerings import Offered, Proposal
from intertie_node.services.waiting import durable

Pair = tuple[LiveNode, LiveNode]


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    north, south = LiveNode("north.example", tmp_path / "n"), LiveNode("south.example", tmp_path / "s")
    for node in (north, south):
        await node.start()
    yield north, south
    for node in (north, south):
        with suppress(KilledError):
            await node.stop()


class KilledError(Exception):
    """The process has died."""


async def _proposed(pair: Pair, **terms: Any) -> Proposal:
    """What the first grid has proposed to the second, which holds it."""
    north, south = pair
    proposal = await north.node.peerings.offer_peering(south.public, None, Offered(**{**TERMS, **terms}))
    await until("the proposal arrives", lambda: proposal.digest in south.node.peerings.proposals)
    return proposal


async def _dies_after_deciding(node: LiveNode) -> None:
    """Have the node die right after the commit that makes a decided proposal durable, and start it again."""
    commit = node.node.store.commit

    def last(changes: Any) -> None:
        commit(changes)
        if any(row[4] != PeeringState.PROPOSED for row in changes.puts["proposals"].values()):
            raise KilledError

    node.node.store.commit = last  # type: ignore[method-assign]
    await until("the node dies", node.node._tasks[0].done)
    with suppress(KilledError):
        await node.stop()
    node.node = Node(node.node.config, node.node.folder)
    await node.node.start()


@pytest.mark.parametrize("who", ["proposer", "acceptor"])
async def test_an_accepted_peering_outlives_a_crash_at_its_commit(pair: Pair, who: str) -> None:
    north, south = pair
    proposal = await _proposed(pair)
    dying = asyncio.create_task(_dies_after_deciding(north if who == "proposer" else south))
    await asyncio.sleep(0)
    decision = asyncio.create_task(south.node.peerings.decide(proposal.digest, PeeringAct.ACCEPT))
    await dying
    decision.cancel()
    await until("the peering stands", lambda: north.node.world.links and south.node.world.links)
    await until("the link opens", lambda: north.is_open(south.node.world.fingerprint))
    for node in (north, south):
        assert node.node.peerings.proposals[proposal.digest].state is PeeringState.ACTIVE


ACCEPT, REFUSE = PeeringAct.ACCEPT, PeeringAct.REFUSE


@pytest.mark.parametrize("acts", [(ACCEPT, ACCEPT, REFUSE), (REFUSE, ACCEPT)])
async def test_of_two_decisions_at_once_the_first_counts(pair: Pair, acts: tuple[PeeringAct, ...]) -> None:
    north, south = pair
    proposal = await _proposed(pair)
    desk = south.node.peerings
    answers = await asyncio.gather(*(desk.decide(proposal.digest, act) for act in acts), return_exceptions=True)
    state = PeeringState.ACTIVE if acts[0] is ACCEPT else PeeringState.REFUSED
    first, *others = answers
    assert isinstance(first, Proposal)
    assert first.state is state
    assert [other.reason for other in others if isinstance(other, IntertieError)] == ["INVALID_ARGUMENT"] * len(others)
    own = north.node.peerings
    await until("the proposer hears it", lambda: own.proposals[proposal.digest].state is state)
    for node in (north, south):
        assert len(node.node.peerings.states) == (state is PeeringState.ACTIVE)


async def test_of_two_changes_at_once_the_second_meets_the_state_after_the_first(pair: Pair) -> None:
    _, south = pair
    proposal = await _proposed(pair)
    desk = south.node.peerings
    await desk.decide(proposal.digest, ACCEPT)
    link = next(iter(desk.states))
    await desk.change(link, PeeringAct.SUSPEND)
    acts = (PeeringAct.TERMINATE, PeeringAct.RESUME)
    ended, resumed = await asyncio.gather(*(desk.change(link, act) for act in acts), return_exceptions=True)
    assert ended is PeeringState.TERMINATED
    assert isinstance(resumed, IntertieError)
    assert (desk.states[link], desk.pins.rows[link].state) == (PeeringState.TERMINATED, PeeringState.TERMINATED)


@pytest.mark.parametrize("before", [PeeringState.ACTIVE, PeeringState.TERMINATED])
async def test_an_older_agreement_is_no_answer_to_a_new_proposal(
    pair: Pair, before: PeeringState, caplog: pytest.LogCaptureFixture
) -> None:
    """IT-PEE-028."""
    north, south = pair
    await peer(north, south)
    desk = north.node.peerings
    link = next(iter(north.node.world.links.values()))
    old = desk.pins.rows[link.name].agreement
    if before is PeeringState.TERMINATED:
        await desk.change(link.name, PeeringAct.TERMINATE)

    async def answer(request: dr.ProposeRequest) -> dr.ProposeResponse:
        return dr.ProposeResponse(state=dr.PROPOSAL_STATE_ACCEPTED, agreement=old)

    south.node.servers._strangers.propose = answer  # type: ignore[method-assign]
    caplog.set_level(logging.INFO, peerings.__name__)
    proposal = await desk.offer_peering(south.public, None, Offered(**{**TERMS, "our_credit_limit": 5}))
    await until("the answer is refused", lambda: "AGREEMENT_INVALID" in caplog.text)
    assert desk.proposals[proposal.digest].state is PeeringState.PROPOSED
    assert north.node.world.links == {link.name: link}
    assert north.node.world.links[link.name] is link
    assert (desk.states[link.name], desk.pins.rows[link.name].state) == (before, before)
    assert link.phase is Phase.OPEN


async def test_a_known_genesis_is_not_taken_up_again(pair: Pair) -> None:
    """IT-PEE-011."""
    north, south = pair
    await peer(north, south)
    desk = south.node.peerings
    link = next(iter(south.node.world.links.values()))
    accepted = next(iter(desk.proposals.values()))
    with pytest.raises(IntertieError, match="AGREEMENT_INVALID"):
        await durable(south.node.engine.submit, lambda fx: desk._settle(accepted, fx))
    assert south.node.world.links[link.name] is link
