"""Proposals are decided once, and what is decided outlives a crash (RFC 0006)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec import structs
from tests.kit.live import TERMS, LiveNode, peer, until

from intertie.errors import IntertieError
from intertie.v1 import directory_pb2 as dr
from intertie_node.adapters.grpc.tls import make_certificate
from intertie_node.adapters.storage import SqliteStore
from intertie_node.app import DATABASE, Node
from intertie_node.core.opening import Phase
from intertie_node.core.peering import PeeringAct, PeeringState
from intertie_node.services import describing, peerings
from intertie_node.services.clock import wall_clock
from intertie_node.services.peerings import Offered, Proposal
from intertie_node.services.rotation import Chosen, rotate
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


@pytest_asyncio.fixture
async def namesake(tmp_path: Path) -> AsyncIterator[LiveNode]:
    """Another grid that calls itself south."""
    node = LiveNode("south.example", tmp_path / "other")
    await node.start()
    yield node
    await node.stop()


class KilledError(Exception):
    """The process has died."""


async def _proposed(pair: Pair, **terms: Any) -> Proposal:
    """What the first grid has proposed to the second, which holds it."""
    north, south = pair
    proposal = await north.node.peerings.offer_peering(south.public, None, Offered(**{**TERMS, **terms}))
    await until("the proposal arrives", lambda: proposal.digest in south.node.peerings.proposals)
    return proposal


def _rotate_certificate(node: LiveNode) -> None:
    """Give a node that does not run a new certificate, stated by its next descriptor version."""
    folder, stated = node.node.folder, describing.facts(node.node.config)
    with closing(SqliteStore(folder / DATABASE)) as store:
        rotate(folder / "keys", store, stated, Chosen(certificate=True), make_certificate, wall_clock())


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


ACCEPT, REFUSE, WITHDRAW = PeeringAct.ACCEPT, PeeringAct.REFUSE, PeeringAct.WITHDRAW


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


async def test_a_withdrawn_proposal_makes_no_peering(pair: Pair) -> None:
    north, south = pair
    proposal = await _proposed(pair)
    withdrawn = await north.node.peerings.decide(proposal.digest, WITHDRAW)
    assert withdrawn.state is PeeringState.WITHDRAWN
    await until("nobody asks any more", lambda: not north.node.peerings._tasks)
    await south.node.peerings.decide(proposal.digest, ACCEPT)
    await north.stop()
    await north.start_again()
    desk = north.node.peerings
    assert desk.proposals[proposal.digest].state is PeeringState.WITHDRAWN
    assert not desk._tasks
    assert not north.node.world.links
    with pytest.raises(IntertieError, match="INVALID_ARGUMENT"):
        await desk.decide(proposal.digest, WITHDRAW)


async def test_a_proposal_is_withdrawn_once_though_its_answer_is_on_the_way(pair: Pair) -> None:
    north, south = pair
    proposal = await _proposed(pair)
    desk = north.node.peerings
    countersigned = await south.node.peerings.decide(proposal.digest, ACCEPT)
    accepted = structs.replace(proposal, state=PeeringState.ACTIVE, agreement=countersigned.agreement)
    withdrawing = asyncio.create_task(desk.decide(proposal.digest, WITHDRAW))
    await asyncio.sleep(0)
    await durable(north.node.engine.submit, lambda fx: desk._hear(accepted, fx))
    assert (await withdrawing).state is PeeringState.WITHDRAWN
    assert not north.node.world.links


async def test_each_side_decides_in_its_own_way(pair: Pair) -> None:
    north, south = pair
    proposal = await _proposed(pair)
    for node, act in ((north, ACCEPT), (north, REFUSE), (south, WITHDRAW)):
        with pytest.raises(IntertieError, match="NOT_FOUND"):
            await node.node.peerings.decide(proposal.digest, act)


async def test_of_two_grids_with_one_name_the_first_accepted_keeps_it(pair: Pair, namesake: LiveNode) -> None:
    """IT-PEE-029."""
    north, south = pair
    proposals = [await _proposed((proposer, north)) for proposer in (south, namesake)]
    desk = north.node.peerings
    await desk.decide(proposals[0].digest, ACCEPT)
    with pytest.raises(IntertieError, match="DESCRIPTOR_INVALID"):
        await desk.decide(proposals[1].digest, ACCEPT)
    assert [link.peer.fingerprint for link in north.node.world.links.values()] == [south.node.world.fingerprint]
    assert desk.proposals[proposals[1].digest].state is PeeringState.PROPOSED
    await desk.decide(proposals[1].digest, REFUSE)


async def test_a_second_peering_keeps_the_chain_that_the_first_has_brought(pair: Pair) -> None:
    north, south = pair
    await peer(north, south)
    proposal = await _proposed(pair, our_credit_limit=5)
    await north.stop()
    _rotate_certificate(north)
    await north.start_again()
    fingerprint = north.node.world.fingerprint
    await until("the chain arrives", lambda: south.node.world.executors[fingerprint].version == 2)
    await south.node.peerings.decide(proposal.digest, ACCEPT)
    assert south.node.world.executors[fingerprint].version == 2
    assert [link.peer.descriptor.version for link in south.node.world.links.values()] == [2, 2]


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
