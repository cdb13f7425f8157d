from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from tests.unit.node.backends.fake_run import FakeRun, told

from intertie.errors import IntertieError
from intertie_node.adapters.backends import create
from intertie_node.config import PythonTable
from intertie_node.ports import Backend, RefuseWork

HERE = Path(__file__).parent


def backend(function: str, **fields: object) -> Backend:
    table = PythonTable(offer="it", target=f"tools_module.py:{function}", folder=HERE, **fields)  # type: ignore[arg-type]
    return create(table)


async def started(function: str, **fields: object) -> Backend:
    made = backend(function, **fields)
    await made.start()
    return made


async def test_function_describes_its_offer() -> None:
    (spec,) = await backend("count").start()
    assert (spec.name, spec.description, spec.features) == ("it", "Counts words.", ("idempotent",))
    assert told(spec.input_schema) == {"type": "object", "required": ["text"]}


async def test_configuration_wins_over_the_function() -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    (spec,) = await backend(
        "count", input_schema=schema, description="mine", features=["streaming"], tags=["a"], kind="agent"
    ).start()
    assert told(spec.input_schema) == schema
    assert (spec.description, spec.features, spec.tags, spec.kind) == (
        "mine",
        ("streaming",),
        ("a",),
        "agent",
    )


async def test_function_without_schema_takes_any_object() -> None:
    (spec,) = await backend("shout").start()
    assert told(spec.input_schema) == {"type": "object"}


async def test_sync_function_runs_in_a_thread_and_uses_run() -> None:
    run = FakeRun({"text": "a b c"}, reply=b"yes")
    result = await (await started("count")).run("it", run)
    assert told(result.output) == {"words": 3, "reply": "yes", "thread": "intertie-it"}
    assert result.media_type == "application/json"
    assert run.usage == {"sim.step": 2, "text.output.byte": 5}
    assert run.chunks == [(b"piece", "text/plain")]
    assert run.reports == [(1, 2, "half")]
    assert run.questions == [("ok?", b"")]


@pytest.mark.parametrize(
    ("function", "media_type", "output"),
    [
        ("shout", "text/plain", b"HI"),
        ("raw", "application/octet-stream", b"\x00\x01"),
        ("instance", "application/json", b'["called"]'),
    ],
)
async def test_kinds_of_results(function: str, media_type: str, output: bytes) -> None:
    result = await (await started(function)).run("it", FakeRun({"text": "hi"}))
    assert (result.media_type, result.output, result.is_error) == (media_type, output, False)


async def test_large_output_is_streamed() -> None:
    run = FakeRun({"size": 40_000})
    result = await (await started("big")).run("it", run)
    assert (result.output, result.media_type) == (b"", "")
    assert [len(data) for data, _ in run.chunks] == [16_384, 16_384, 7_232]
    assert run.usage == {}


async def test_too_large_output_fails() -> None:
    with pytest.raises(IntertieError, match="EXECUTION_FAILED"):
        await (await started("big")).run("it", FakeRun({"size": 5_000_000}))


@pytest.mark.parametrize("data", [b"[1]", b"3", b"{", b"", b"\xff", b"[" * 100_000])
async def test_input_that_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(RefuseWork) as refused:
        await (await started("count")).run("it", FakeRun(raw=data))
    assert refused.value.error.reason == "INPUT_INVALID"


async def test_errors_of_the_function_pass() -> None:
    with pytest.raises(LookupError, match="lost"):
        await (await started("broken")).run("it", FakeRun({}))
    with pytest.raises(IntertieError, match="PERMISSION_DENIED"):
        await (await started("named")).run("it", FakeRun({}))
    with pytest.raises(IntertieError, match=r"EXECUTION_FAILED.*SystemExit"):
        await (await started("stops")).run("it", FakeRun({}))
    with pytest.raises(IntertieError, match=r"EXECUTION_FAILED.*not JSON"):
        await (await started("unjson")).run("it", FakeRun({}))


async def test_cancel_is_prompt_and_frees_the_place_only_when_the_thread_is_done() -> None:
    from sys import modules

    made = await started("endless", threads=1)
    module = modules["intertie_backend_tools_module"]
    module.started.clear()
    module.outcomes.clear()
    work = asyncio.create_task(made.run("it", FakeRun({})))
    assert await asyncio.to_thread(module.started.wait, 5)
    begun = time.monotonic()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert time.monotonic() - begun < 1
    async with asyncio.timeout(5):
        while not module.outcomes:  # noqa: ASYNC110 - a thread fills it
            await asyncio.sleep(0.01)
    assert module.outcomes == ["CANCELED"]
    again = asyncio.create_task(made.run("it", FakeRun({})))
    module.started.clear()
    assert await asyncio.to_thread(module.started.wait, 5)
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("tools_module.py:nothing", "AttributeError"),
        ("missing.py:f", "FileNotFoundError"),
        ("no.such.module:f", "ModuleNotFoundError"),
        ("tools_module.py:not_callable", "not callable"),
    ],
)
async def test_what_cannot_be_loaded(target: str, why: str) -> None:
    with pytest.raises(IntertieError, match=f"BACKEND_UNAVAILABLE.*{why}"):
        await create(PythonTable(offer="it", target=target, folder=HERE)).start()


async def test_importable_module() -> None:
    made = create(PythonTable(offer="it", target="json:dumps"))
    (spec,) = await made.start()
    assert spec.description.startswith("Serialize")
    await made.stop()
    with pytest.raises(IntertieError, match="BACKEND_UNAVAILABLE"):
        await made.run("it", FakeRun({}))


@pytest.mark.parametrize("schema", [{"type": "text"}, {"properties": {"a": {"pattern": "("}}}])
async def test_a_schema_that_does_not_compile_is_refused_at_start(schema: dict[str, object]) -> None:
    with pytest.raises(IntertieError, match="BACKEND_UNAVAILABLE: it: input schema"):
        await backend("count", input_schema=schema).start()
