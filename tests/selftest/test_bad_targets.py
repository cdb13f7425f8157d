"""Targets that hang, flood or die yield verdicts, within bounds; two runs with one seed say the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from intertie.v1 import directory_pb2 as dr
from intertie.v1 import link_pb2 as lk
from intertie_conformance import trials
from intertie_conformance.checks import Check, all_checks
from intertie_conformance.config import Config, SuiteTable, TargetTable
from intertie_conformance.grid.invocations import OTHER_TOKEN, TOKEN
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.node import Grid
from intertie_conformance.grid.routes import Route
from intertie_conformance.grid.rules import Rules
from intertie_conformance.grid.streams import GrpcStream
from intertie_conformance.roles.target import Target, Unreachable
from intertie_conformance.runner import Runner
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import Outcome, Verdict, fail
from intertie_conformance.wire.refusal import Refusal


class Hanging(Grid):
    """Takes every stream and says nothing."""

    def accepted(self, fingerprint: bytes, stream: GrpcStream, data: bytes) -> None:
        return

    def dials(self, link: Link) -> bool:
        return False


class Flooding(Hanging):
    """Answers every frame with a flood."""

    def accepted(self, fingerprint: bytes, stream: GrpcStream, data: bytes) -> None:
        for number in range(2_000):
            stream.send(lk.Frame(ping=number + 1, inputs=[lk.OrderInput(data=bytes(16_000))]).SerializeToString())


class Deliberate(Grid):
    """Accepts proposals some time after they have come."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.first: dict[bytes, float] = {}

    def proposed(self, request: dr.ProposeRequest) -> dr.ProposeResponse:
        came = self.first.setdefault(request.agreement, time.monotonic())
        if time.monotonic() < came + 1.0:
            return dr.ProposeResponse(state=dr.PROPOSAL_STATE_PENDING)
        return super().proposed(request)


class Undecided(Grid):
    """Never accepts a proposal."""

    def proposed(self, request: dr.ProposeRequest) -> dr.ProposeResponse:
        return dr.ProposeResponse(state=dr.PROPOSAL_STATE_PENDING)


class Full(Grid):
    """Has no room for another proposal."""

    def proposed(self, request: dr.ProposeRequest) -> dr.ProposeResponse:
        raise Refusal("NODE_BUSY", "64 proposals wait for the operator.")


def quick(prefix: str) -> list[Check]:
    return [check for check in all_checks() if check.name.startswith(prefix) and not check.slow]


@pytest.mark.parametrize("kind", [Hanging, Flooding])
async def test_a_target_that_hangs_or_floods_gets_verdicts(kind: type[Grid]) -> None:
    checks = quick("opening.")
    began = time.monotonic()
    outcomes = await trials.judge(kind("bad.example"), checks, "seed", watch=False, answer_s=0.3)
    assert time.monotonic() - began < 40
    assert len(outcomes) == len(checks)
    assert {o.verdict for o in outcomes} == {Verdict.FAIL} or {o.check for o in outcomes if not o.is_red} <= {
        "opening.unknown_features"
    }


async def test_a_target_that_decides_later_is_waited_for() -> None:
    checks = quick("opening.")[:2]
    outcomes = await trials.judge(Deliberate("slow.example"), checks, "seed", watch=False)
    assert [o.verdict for o in outcomes] == [Verdict.PASS, Verdict.PASS]


async def test_a_target_that_never_decides_is_waited_for_once() -> None:
    checks, began = quick("opening.")[:4], time.monotonic()
    outcomes = await trials.judge(Undecided("never.example"), checks, "seed", watch=False)
    assert time.monotonic() - began < 15
    assert {(o.verdict, o.got[:22]) for o in outcomes} == {(Verdict.FAIL, "PROPOSAL_STATE_PENDING")}


class Alone(Rules):
    """Sells nothing on."""

    def tells(self, link: Link, route: Route) -> bool:
        return False


async def test_a_target_that_does_not_relay_is_probed_and_not_failed() -> None:
    names = ("relaying.hop_id", "relaying.longer_path", "relayed_events.events_unchanged", "resold_routes.no_loops")
    checks = [check for check in all_checks() if check.name in names]
    outcomes = await trials.judge(Grid("alone.example", Alone()), checks, "seed", watch=False)
    assert [o.verdict for o in outcomes] == [Verdict.NOT_APPLICABLE] * len(names)


async def test_a_target_that_dies_gets_verdicts() -> None:
    grid = Grid("dying.example")
    await grid.start()
    target = Target(_config(grid))
    await target.meet()
    runner = Runner(target, _config(grid), "seed")
    checks = quick("frames.")[:4]
    first = await runner.one(checks[0])
    await grid.stop()
    rest = [await runner.one(check) for check in checks[1:]]
    await target.stop()
    assert first.verdict is Verdict.PASS
    assert {o.verdict for o in rest} == {Verdict.FAIL}


async def test_a_target_that_is_not_there_is_named() -> None:
    target = Target(Config(target=TargetTable(public="127.0.0.1:9"), suite=SuiteTable(answer_s=0.3)))
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        await target.meet()
    await target.stop()


async def test_a_command_that_says_nothing_is_named() -> None:
    target = Target(Config(target=TargetTable(command="sleep 60", start_s=0.3)))
    with pytest.raises(Unreachable, match="how it is reached"):
        await target.meet()


async def test_two_runs_with_one_seed_give_the_same_verdicts() -> None:
    def told(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
        return [(o.check, o.verdict.value) for o in outcomes]

    checks = [*quick("groups."), *quick("encoding.")]
    runs = [await trials.judge(Grid("twice.example"), checks, "one seed", watch=False) for _ in range(2)]
    assert told(runs[0]) == told(runs[1])


def _config(grid: Grid) -> Config:
    table = TargetTable(public=grid.public, token=TOKEN, other_token=OTHER_TOKEN)
    return Config(target=table, suite=SuiteTable(answer_s=0.5, peers=1))


async def test_what_fails_is_tried_once_more_and_that_is_said() -> None:
    tries: list[bool] = []

    async def hasty(stage: Stage) -> None:
        tries.append(True)
        if len(tries) < 2:
            fail("an answer", "nothing within 5 s")
        stage.saw("an answer")

    grid = Grid("again.example")
    await grid.start()
    target = Target(_config(grid))
    await target.meet()
    runner = Runner(target, _config(grid), "seed")
    checks = [Check("IT-LNK-001", "hasty.hasty", hasty, "stranger", False, False, False)]
    outcomes = await runner.again(await runner.run(checks), checks)
    await target.stop()
    await grid.stop()
    assert [(o.verdict, o.first.got if o.first else "") for o in outcomes] == [(Verdict.PASS, "nothing within 5 s")]


async def test_a_check_that_sees_nothing_is_no_pass() -> None:
    async def blind(stage: object) -> None:
        await asyncio.sleep(0)

    check = Check("IT-LNK-001", "blind.blind", blind, "stranger", False, False, False)
    (outcome,) = await trials.judge(Grid("seen.example"), [check], "seed", watch=False)
    assert outcome.verdict is Verdict.HARNESS_ERROR
    assert outcome.got == "the check has seen nothing"


async def test_a_target_full_of_proposals_is_no_wrong_answer() -> None:
    checks = quick("opening.")[:2] + quick("peering.")[:1]
    outcomes = await trials.judge(Full("full.example"), checks, "seed", watch=False)
    assert {o.verdict for o in outcomes} == {Verdict.HARNESS_ERROR}
    assert all("start the target afresh" in o.got for o in outcomes)
