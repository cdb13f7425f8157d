"""Backends that raise, hang, die or say too much: the call ends by name, and the node goes on."""

from __future__ import annotations

import json

import pytest
from tests.federation.stage import AFAR, Stage, reply_to
from tests.kit.bad_backends import MISSPEAKS
from tests.kit.live import Consumer, refused

from intertie.v1 import task_pb2 as ts

pytestmark = pytest.mark.asyncio(loop_scope="module")


BROKEN: dict[str, tuple[str, bytes, str, int]] = {
    "raises": ("raises", b"{}", "EXECUTION_FAILED", 5),
    "hangs": ("hangs", b"{}", "DEADLINE_EXCEEDED", 5),
    "stubborn": ("stubborn", b"{}", "DEADLINE_EXCEEDED", 2),
    "uncountable and priced": ("greedy", b'{"unit":"sim.step"}', "GRANT_EXHAUSTED", 2),
    "uncountable and free": ("greedy", b'{"unit":"rag.query"}', "AMOUNT_OVERFLOW", 2),
    "less than nothing": ("negative", b"{}", "EXECUTION_FAILED", 2),
    "uncountable by price": (
        "conformance/meter",
        b'{"usage":{"rag.query":9223372036854775807}}',
        "GRANT_EXHAUSTED",
        2,
    ),
    "fails as asked": ("conformance/fail", b'{"steps":7}', "EXECUTION_FAILED", 9),
}


@AFAR
@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_backend(stage: Stage, grid: str, name: str) -> None:
    offer, data, reason, charge = BROKEN[name]
    request = Consumer.request(f"{grid}.example/{offer}", data, timeout_ms=1_000)
    outcome = await stage.consumer.call(request)
    assert outcome.state == ts.TASK_STATE_FAILED
    assert outcome.problem.reason == reason
    assert "secret" not in outcome.problem.message
    assert outcome.receipt.charge == charge
    assert outcome.receipt.proof.record


@AFAR
@pytest.mark.parametrize("what", MISSPEAKS)
async def test_words_that_no_backend_should_say(stage: Stage, grid: str, what: str) -> None:
    data = json.dumps({"what": what}).encode()
    outcome = await stage.consumer.call(Consumer.request(f"{grid}.example/misspeaks", data, timeout_ms=3_000))
    assert (outcome.state, outcome.problem.reason) == (ts.TASK_STATE_FAILED, "EXECUTION_FAILED")
    assert outcome.receipt.proof.record
    await stage.check_calm()


@AFAR
@pytest.mark.parametrize(("refuses", "reason"), [("true", "INPUT_INVALID"), ("false", "CANCELED")])
async def test_a_backend_that_gives_up_at_length(stage: Stage, grid: str, refuses: str, reason: str) -> None:
    request = Consumer.request(f"{grid}.example/gives_up", b'{"refuses":%s}' % refuses.encode(), timeout_ms=3_000)
    assert (await stage.consumer.call(request)).problem.reason == reason
    await stage.check_calm()


@AFAR
async def test_an_output_too_large_for_a_call(stage: Stage, grid: str) -> None:
    request = Consumer.request(f"{grid}.example/wide", b'{"bytes":1500000}')
    assert (await refused(stage.consumer.call(request))).reason == "PAYLOAD_TOO_LARGE"
    small = Consumer.request(f"{grid}.example/wide", b'{"bytes":900000}')
    outcome = await stage.consumer.call(small)
    assert outcome.output.data == b"w" * 900_000


async def test_many_questions_are_answered_in_turn(stage: Stage) -> None:
    stream = stage.consumer.stream()
    request = Consumer.request("south.example/endless", b'{"questions":5}')
    await stream.say(invocations=[request])
    answered = 0
    while not any(item.HasField("outcome") for item in stream.items):
        await stream.read()
        asked = [item.event.input_request.request for item in stream.items if item.event.HasField("input_request")]
        for number in asked[answered:]:
            await stream.say(inputs=[reply_to(request.id, b"%d" % number, number)] * 2)
        answered = len(asked)
    assert (await stream.outcome(request.id)).output.data == b'{"replies":["1","2","3","4","5"]}'
    stream.raw.cancel()


async def test_a_server_that_dies_is_started_again(stage: Stage) -> None:
    outcome = await stage.consumer.call(Consumer.request("crash", b"{}"))
    assert outcome.state == ts.TASK_STATE_FAILED
    assert outcome.problem.reason in ("BACKEND_UNAVAILABLE", "EXECUTION_FAILED")
    outcome = await stage.consumer.call(Consumer.request("add", b'{"a":1}'))
    assert outcome.state == ts.TASK_STATE_COMPLETED


async def test_a_server_that_hangs_meets_its_deadline(stage: Stage) -> None:
    outcome = await stage.consumer.call(Consumer.request("hang", b"{}", timeout_ms=500))
    assert outcome.state == ts.TASK_STATE_FAILED
    assert outcome.problem.reason == "DEADLINE_EXCEEDED"
