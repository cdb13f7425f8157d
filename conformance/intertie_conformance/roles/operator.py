"""The target's operator: takes proposals of the suite's grids to their acceptance, those of many checks in one turn."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import grpc

from intertie.v1 import directory_pb2 as dr
from intertie_conformance.grid.identity import Identity
from intertie_conformance.roles.target import Target, Unreachable
from intertie_conformance.verdicts import Failed, Slip
from intertie_conformance.wire.agreements import Agreed
from intertie_conformance.wire.status import said

AT_A_TIME: Final = 2
"""Accept commands that run beside each other."""
ACCEPT_S: Final = 30.0
DECIDES_S: Final = 10.0
"""How long a target may take to accept a proposal (IT-CNF-030)."""
ASK_AGAIN_S: Final = 0.2
FULL: Final = (
    "the target answers a sound proposal with NODE_BUSY: too many wait for its operator. Those of an earlier run whose "
    "accept command failed count: decline them, or start the target afresh. If none wait, it bounds them below "
    "suite.peers"
)
"""Said of a target that takes no proposal. It may be in the right (IT-PEE-024), so nothing is said of the requirement
of the check that needed a peering; the run fails all the same."""


class Proposal:
    """One proposal of one of the suite's grids."""

    def __init__(self, me: Identity, sealed: bytes, agreed: Agreed) -> None:
        self.me = me
        self.sealed = sealed
        self.agreed = agreed

    @property
    def named(self) -> dict[str, str]:
        """As an operator knows it."""
        return {
            "digest": self.agreed.digest.hex(),
            "fingerprint": self.me.fingerprint.hex(),
            "grid": self.me.grid,
        }


class Request:
    """Proposals that one check waits for."""

    def __init__(self, proposals: Sequence[Proposal]) -> None:
        self.proposals = proposals
        self.answers: list[dr.ProposeResponse] = []
        """What the target has said last of each."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def ask(self, how: Callable[[Proposal], Awaitable[dr.ProposeResponse]]) -> None:
        """Ask the target for each; a failure ends this request alone."""
        try:
            self.answers = list(await asyncio.gather(*map(how, self.proposals)))
        except Exception as error:
            self.end(error)

    def end(self, error: Exception | None = None) -> None:
        """Let the check go on."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


class Operator:
    """Has proposals accepted. What comes during a turn is taken together in the next one: a command takes its time."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._waiting: list[Request] = []
        self._turns: asyncio.Task[None] | None = None
        self._decides_s = DECIDES_S

    async def accepted(self, proposals: Sequence[Proposal]) -> list[bytes]:
        """The countersigned envelopes of proposals. Raises: Failed, Unreachable."""
        request = Request(proposals)
        self._waiting.append(request)
        if self._turns is None or self._turns.done():
            self._turns = asyncio.create_task(self._take_turns())
        await request.done
        return [answer.agreement for answer in request.answers]

    async def propose(self, proposal: Proposal) -> dr.ProposeResponse:
        """Send a proposal, or ask how it stands. Raises: Failed; Slip if the target has no room for it."""
        request = dr.ProposeRequest(descriptors=proposal.me.chain, agreement=proposal.sealed)
        try:
            answer: dr.ProposeResponse = await self._target.directory().Propose(
                request, timeout=self._target.suite.answer_s
            )
        except grpc.aio.AioRpcError as error:
            told = said(error)
            if told.reason == "NODE_BUSY":
                raise Slip(FULL) from None
            raise Failed("a sound proposal is taken", str(told)) from None
        return answer

    # -- turns ------------------------------------------------------------------------------------

    async def _take_turns(self) -> None:
        while self._waiting:
            await self._turn(self._next())

    def _next(self) -> list[Request]:
        """The first request, and those after it with which no more are pending than the target must take."""
        count, room = 0, self._target.suite.peers
        for request in self._waiting:
            room -= len(request.proposals)
            if count and room < 0:
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    async def _turn(self, requests: Sequence[Request]) -> None:
        await asyncio.gather(*(request.ask(self.propose) for request in requests))
        asked = [request for request in requests if not request.done.done()]
        try:
            await self._accept([proposal for request in asked for proposal in _undecided(request)])
        except Exception as error:
            for request in asked:
                request.end(error)
        await asyncio.gather(*(request.ask(self._decided) for request in asked if not request.done.done()))
        for request in asked:
            request.end()

    async def _decided(self, proposal: Proposal) -> dr.ProposeResponse:
        """Ask until the target has accepted; one that once has not is asked no longer. Raises: Failed."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._decides_s
        answer = await self.propose(proposal)
        while answer.state == dr.PROPOSAL_STATE_PENDING and loop.time() < end:
            await asyncio.sleep(ASK_AGAIN_S)
            answer = await self.propose(proposal)
        if answer.state != dr.PROPOSAL_STATE_ACCEPTED:
            waited, self._decides_s = self._decides_s, 0.0
            state = dr.ProposalState.Name(answer.state)
            raise Failed("a proposal that the operator accepts is ACCEPTED", f"{state} within {waited:g} s")
        return answer

    async def _accept(self, proposals: Sequence[Proposal]) -> None:
        """Tell the operator's command of proposals. Raises: Unreachable if it fails."""
        command = self._target.table.accept
        if command == "auto" or not proposals:
            return
        if not any(f"{{{key}}}" in command for key in proposals[0].named):
            lines = "".join(json.dumps(proposal.named) + "\n" for proposal in proposals)
            await _run(shlex.split(command), lines.encode())
            return
        turns = asyncio.Semaphore(AT_A_TIME)

        async def one(proposal: Proposal) -> None:
            async with turns:
                await _run([part.format(**proposal.named) for part in shlex.split(command)], b"")

        # All are waited for, then the first failure is told: a command left behind would outlive the loop.
        for failure in await asyncio.gather(*map(one, proposals), return_exceptions=True):
            if failure is not None:
                raise failure


def _undecided(request: Request) -> list[Proposal]:
    pairs = zip(request.proposals, request.answers, strict=True)
    return [proposal for proposal, answer in pairs if answer.state != dr.PROPOSAL_STATE_ACCEPTED]


async def _run(command: list[str], given: bytes) -> None:
    """Run an accept command, `given` on its stdin. Raises: Unreachable if it fails."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except (OSError, ValueError, TypeError) as error:
        raise Unreachable(f"the accept command cannot be run: {error}") from None
    try:
        out, _ = await asyncio.wait_for(process.communicate(given), ACCEPT_S)
    except TimeoutError:
        raise Unreachable(f"the accept command did not end within {ACCEPT_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise Unreachable(f"the accept command ended with {process.returncode}: {out.decode(errors='replace')[-400:]}")
