from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from tests.unit.node.backends.fake_run import FakeRun

from intertie.errors import IntertieError
from intertie_node.adapters.backends import create
from intertie_node.adapters.backends.schema import check_input
from intertie_node.adapters.backends.text import cut, fill
from intertie_node.config import TextTable
from intertie_node.ports import RefuseWork


async def told(value: object, **fields: object) -> FakeRun:
    backend = create(TextTable(offer="text/essay", **fields))  # type: ignore[arg-type]
    (spec,) = await backend.start()
    run = FakeRun(value)
    check_input(spec.input_schema, run.input)
    result = await backend.run("text/essay", run)
    await backend.stop()
    assert result.output == b""
    assert run.usage == {"text.output.byte": len(run.streamed)}
    return run


async def test_chunks_add_up_to_the_length() -> None:
    run = await told({"length": 1_000, "chunk_bytes": 300})
    assert [len(data) for data, _ in run.chunks] == [300, 300, 300, 100]
    assert {media_type for _, media_type in run.chunks} == {"text/plain"}
    assert run.reports[-1] == (1_000, 1_000, "")


async def test_the_same_input_gives_the_same_text() -> None:
    assert (await told({"topic": "a"})).chunks == (await told({"topic": "a"})).chunks
    assert len((await told({})).streamed) == 2_000


async def test_given_text_is_repeated_and_cut_at_characters() -> None:
    run = await told({"text": "aé€🔌", "length": 24, "chunk_bytes": 5})
    assert run.streamed.decode() == "aé€🔌aé€🔌aé"
    assert all(data.decode() for data, _ in run.chunks)


async def test_topic_orders_the_folders_paragraphs(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\nDogs bark.\n\nCats sleep in the sun.\n")
    plain = await told({"length": 30}, folder=tmp_path)
    assert plain.streamed.startswith(b"Dogs bark.")
    about = await told({"length": 500, "topic": "cats, sleep!"}, folder=tmp_path)
    assert about.streamed.startswith(b"Cats sleep in the sun.\n\nDogs bark.\n\nCats")


async def test_delay_and_cancel() -> None:
    backend = create(TextTable(offer="text/essay"))
    await backend.start()
    run = FakeRun({"length": 40, "chunk_bytes": 10, "delay_ms": 50})
    begun = time.monotonic()
    await backend.run("text/essay", run)
    assert 0.14 < time.monotonic() - begun < 2
    run = FakeRun({"length": 1_000, "chunk_bytes": 10, "delay_ms": 1_000})
    work = asyncio.create_task(backend.run("text/essay", run))
    await asyncio.sleep(0.1)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert run.usage == {"text.output.byte": 10}


@pytest.mark.parametrize(
    "value",
    [
        {"length": 0},
        {"length": 5_001},
        {"chunk_bytes": 3},
        {"chunk_bytes": 16_385},
        {"delay_ms": 101},
        {"x": 1},
        "text",
    ],
)
async def test_limits_hold_with_and_without_the_schema(value: object) -> None:
    backend = create(TextTable(offer="text/essay", max_length=5_000, max_delay_ms=100))
    (spec,) = await backend.start()
    run = FakeRun(value)
    with pytest.raises(IntertieError, match="INPUT_INVALID"):
        check_input(spec.input_schema, run.input)
    with pytest.raises(RefuseWork):
        await backend.run("text/essay", run)
    assert run.usage == {}


async def test_nothing_to_tell(tmp_path: Path) -> None:
    for table in (
        TextTable(offer="a", folder=tmp_path),
        TextTable(offer="a", folder=tmp_path / "none"),
        TextTable(offer="a", text=""),
    ):
        with pytest.raises(IntertieError, match="BACKEND_UNAVAILABLE"):
            await create(table).start()


@pytest.mark.parametrize("length", range(1, 30))
def test_cuts_end_at_characters(length: int) -> None:
    data = fill(["aé€🔌"], length)
    assert length - 3 <= len(data) <= length
    for size in (4, 5, 7):
        pieces = list(cut(data, size))
        assert b"".join(pieces) == data
        assert all(0 < len(piece) <= size and piece.decode() for piece in pieces)
