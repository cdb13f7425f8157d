from __future__ import annotations

import asyncio
import time

import pytest
from tests.unit.node.backends.fake_run import FakeRun, told

from intertie.errors import IntertieError
from intertie.registry import FEATURES, UNITS
from intertie_node.adapters.backends import create
from intertie_node.adapters.backends.schema import check_input
from intertie_node.config import ConformanceTable, offer_terms
from intertie_node.config.backends import CONFORMANCE_PRICES
from intertie_node.ports import RefuseWork, WorkResult

BACKEND = create(ConformanceTable())


async def do(offer: str, run: FakeRun) -> WorkResult:
    spec = next(spec for spec in await BACKEND.start() if spec.name == f"conformance/{offer}")
    check_input(spec.input_schema, run.input)
    return await BACKEND.run(spec.name, run)


async def test_offers_prices_and_features_are_known() -> None:
    specs = await BACKEND.start()
    assert {spec.name for spec in specs} == set(CONFORMANCE_PRICES) == set(offer_terms(ConformanceTable()))
    for spec in specs:
        assert all(FEATURES[feature].where == "offer" for feature in spec.features)
        assert set(CONFORMANCE_PRICES[spec.name]) <= set(UNITS)


@pytest.mark.parametrize("data", [b"", b"\xff\x00", b'{"a": 1}', b"x" * 100_000])
async def test_echo(data: bytes) -> None:
    run = FakeRun(raw=data)
    run.media_type = "application/x-any"
    result = await do("echo", run)
    assert (result.output, result.media_type, run.usage) == (data, "application/x-any", {})


async def test_delay_waits_and_is_canceled_at_once() -> None:
    begun = time.monotonic()
    result = await do("delay", FakeRun({"ms": 100}))
    assert 0.09 < time.monotonic() - begun < 2
    assert told(result.output) == {"ms": 100}
    work = asyncio.create_task(do("delay", FakeRun({"ms": 60_000})))
    await asyncio.sleep(0.05)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


async def test_meter_in_steps() -> None:
    run = FakeRun({"usage": {"sim.step": 1, "llm.output.token": 10, "rag.query": 0}, "steps": 4})
    result = await do("meter", run)
    assert told(result.output) == {"usage": {"llm.output.token": 10, "rag.query": 0, "sim.step": 1}}
    assert run.metered == [
        ("llm.output.token", 2),
        ("llm.output.token", 3),
        ("llm.output.token", 2),
        ("llm.output.token", 3),
        ("sim.step", 1),
    ]


async def test_meter_is_exact_at_the_end_of_the_range() -> None:
    run = FakeRun({"usage": {"sim.step": 2**63 - 1}, "steps": 7})
    await do("meter", run)
    assert run.usage == {"sim.step": 2**63 - 1}
    assert len(run.metered) == 7


async def test_stream() -> None:
    run = FakeRun({"chunks": 4, "bytes": 20})
    result = await do("stream", run)
    assert (result.output, result.media_type) == (b"", "")
    assert [len(data) for data, _ in run.chunks] == [20] * 4
    assert run.streamed == (b"abcdefghijklmnopqrstuvwxyz" * 4)[:80]
    assert run.usage == {"text.output.byte": 80}
    assert (await do("stream", FakeRun({"chunks": 0, "bytes": 1}))).output == b""


async def test_stream_delays_between_chunks() -> None:
    begun = time.monotonic()
    await do("stream", FakeRun({"chunks": 3, "bytes": 1, "delay_ms": 50}))
    assert 0.09 < time.monotonic() - begun < 2


async def test_ask() -> None:
    run = FakeRun({"prompt": "name?"}, reply=b'{ "name": "x" }')
    result = await do("ask", run)
    assert (result.output, result.media_type) == (b'{ "name": "x" }', "application/json")
    assert run.questions == [("name?", b'{"type":"object"}')]
    run = FakeRun({})
    await do("ask", run)
    assert run.questions[0][0] == "input, please"


@pytest.mark.parametrize("reply", [b"", b"[]", b"\xff", b"{"])
async def test_ask_wants_an_object(reply: bytes) -> None:
    with pytest.raises(IntertieError, match="INPUT_INVALID"):
        await do("ask", FakeRun({}, reply=reply))


async def test_fail() -> None:
    with pytest.raises(IntertieError, match="EXECUTION_FAILED: failed as asked"):
        await do("fail", FakeRun({}))
    run = FakeRun({"message": "mine", "steps": 3})
    with pytest.raises(IntertieError, match="EXECUTION_FAILED: mine"):
        await do("fail", run)
    assert run.usage == {"sim.step": 3}
    result = await do("fail", FakeRun({"as": "tool-error", "message": "mine"}))
    assert (result.is_error, told(result.output)) == (True, {"message": "mine"})


async def test_refuse() -> None:
    with pytest.raises(RefuseWork) as refused:
        await do("refuse", FakeRun({}))
    assert str(refused.value.error) == "PERMISSION_DENIED: refused as asked"


@pytest.mark.parametrize(
    ("offer", "value"),
    [
        ("delay", {}),
        ("delay", {"ms": -1}),
        ("delay", {"ms": 600_001}),
        ("delay", {"ms": "1"}),
        ("meter", {}),
        ("meter", {"usage": {"x-other": 1}}),
        ("meter", {"usage": {"sim.step": -1}}),
        ("meter", {"usage": {"sim.step": 2**63}}),
        ("meter", {"usage": {}, "steps": 0}),
        ("stream", {"chunks": 1}),
        ("stream", {"chunks": 10_001, "bytes": 1}),
        ("stream", {"chunks": 1, "bytes": 16_385}),
        ("ask", {"prompt": 1}),
        ("fail", {"as": "success"}),
        ("fail", {"extra": 1}),
        ("refuse", []),
    ],
)
async def test_schema_and_backend_refuse_alike(offer: str, value: object) -> None:
    spec = next(spec for spec in await BACKEND.start() if spec.name == f"conformance/{offer}")
    run = FakeRun(value)
    with pytest.raises(IntertieError, match="INPUT_INVALID"):
        check_input(spec.input_schema, run.input)
    with pytest.raises(RefuseWork) as refused:
        await BACKEND.run(spec.name, run)
    assert refused.value.error.reason == "INPUT_INVALID"
    assert run.metered == []
