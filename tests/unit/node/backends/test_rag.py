from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.node.backends.fake_run import FakeRun, told

from intertie.errors import IntertieError
from intertie_node.adapters.backends import create
from intertie_node.adapters.backends.rag_index import passages
from intertie_node.adapters.backends.schema import check_input
from intertie_node.config import RagTable
from intertie_node.ports import Backend, RefuseWork

POWER = """# Power

A transformer changes voltage.

## Interties

An intertie joins two grids, so that one may sell energy to the other.

```sh
# not a heading
echo intertie
```
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    (docs / "deep").mkdir(parents=True)
    (docs / "power.md").write_text(POWER)
    (docs / "deep" / "cats.md").write_text("# Cats\n\nA cat sleeps. Café ist offen.\n")
    (docs / "notes.txt").write_text("secretword")
    (docs / ".hidden.md").write_text("secretword")
    (tmp_path / "outside.md").write_text("secretword")
    (docs / "link.md").symlink_to(tmp_path / "outside.md")
    (docs / "linked").symlink_to(tmp_path)
    os.mkfifo(docs / "pipe.md")
    return docs


async def started(folder: Path, **fields: object) -> Backend:
    backend = create(RagTable(offer="docs/ask", folder=folder, **fields))  # type: ignore[arg-type]
    await backend.start()
    return backend


async def ask(backend: Backend, query: str, **more: object) -> dict[str, object]:
    run = FakeRun({"query": query, **more})
    result = await backend.run("docs/ask", run)
    assert run.metered == [("rag.query", 1)]
    answer: dict[str, object] = told(result.output)
    return answer


async def test_offer(folder: Path) -> None:
    (spec,) = await create(RagTable(offer="docs/ask", folder=folder, description="mine")).start()
    assert (spec.name, spec.description, spec.features) == ("docs/ask", "mine", ("idempotent",))
    check_input(spec.input_schema, b'{"query": "a", "limit": 10}')
    for bad in (b"{}", b'{"query": ""}', b'{"query": "a", "limit": 11}', b'{"query": "a", "x": 1}'):
        with pytest.raises(IntertieError, match="INPUT_INVALID"):
            check_input(spec.input_schema, bad)


async def test_best_passage_first(folder: Path) -> None:
    backend = await started(folder)
    answer = await ask(backend, "What is an intertie between grids?", limit=2)
    best = answer["passages"][0]  # type: ignore[index]
    assert (best["path"], best["heading"]) == ("power.md", "Interties")
    assert best["text"] == answer["answer"]
    assert "# not a heading" in best["text"]
    assert best["score"] > 0
    cats = await ask(backend, "CAFE sleeping")
    assert cats["passages"][0]["path"] == "deep/cats.md"  # type: ignore[index]
    await backend.stop()


async def test_output_fits_its_schema(folder: Path) -> None:
    backend = create(RagTable(offer="a", folder=folder))
    (spec,) = await backend.start()
    result = await backend.run("a", FakeRun({"query": "grid"}))
    check_input(spec.output_schema, result.output)
    await backend.stop()


@pytest.mark.parametrize(
    "query",
    [
        '"',
        "* OR NOT",
        'a" OR path:"power',
        "NEAR(cat, 2)",
        "{heading}: cat",
        "'; DROP TABLE passage; --",
        "(",
        "^",
    ],
)
async def test_hostile_queries_are_only_words(folder: Path, query: str) -> None:
    backend = await started(folder)
    await ask(backend, query)
    assert (await ask(backend, "cat"))["answer"]
    await backend.stop()


@pytest.mark.parametrize("query", ["zyzzyva", "???", "\x00", "🔌"])
async def test_nothing_found_is_an_answer(folder: Path, query: str) -> None:
    backend = await started(folder)
    assert await ask(backend, query) == {"answer": "", "passages": []}
    await backend.stop()


async def test_nothing_but_the_folders_own_files_is_read(folder: Path) -> None:
    backend = await started(folder)
    assert (await ask(backend, "secretword"))["passages"] == []
    await backend.stop()
    everything = await started(folder, glob="*.txt")
    assert (await ask(everything, "secretword"))["passages"] != []
    await everything.stop()


async def test_limits(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(IntertieError, match=r"BACKEND_UNAVAILABLE.*max_files = 1"):
        await started(folder, max_files=1)
    backend = await started(folder, max_file_bytes=100)
    assert (await ask(backend, "intertie"))["passages"] == []
    assert "power.md is left out" in caplog.text
    await backend.stop()


async def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(IntertieError, match="BACKEND_UNAVAILABLE"):
        await started(tmp_path / "none")


@pytest.mark.parametrize("value", [{}, {"query": ""}, {"query": "a", "limit": 0}, {"query": "a" * 1_001}, []])
async def test_wrong_inputs_are_refused(folder: Path, value: object) -> None:
    backend = await started(folder)
    run = FakeRun(value)
    with pytest.raises(RefuseWork):
        await backend.run("docs/ask", run)
    assert run.metered == []
    await backend.stop()


async def test_cache_is_used_again_and_rebuilt_when_a_file_changes(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "index.db"
    backend = await started(folder, cache=cache)
    assert (await ask(backend, "intertie"))["passages"] != []
    await backend.stop()
    first = cache.stat().st_ino
    await (await started(folder, cache=cache)).stop()
    assert cache.stat().st_ino == first
    (folder / "new.md").write_text("# New\n\nA turbine turns.\n")
    backend = await started(folder, cache=cache)
    assert (await ask(backend, "turbine"))["passages"] != []
    assert cache.stat().st_ino != first
    await backend.stop()
    cache.write_bytes(b"not a database" * 100)
    backend = await started(folder, cache=cache)
    assert (await ask(backend, "turbine"))["passages"] != []
    await backend.stop()
    assert [path.name for path in cache.parent.iterdir()] == ["index.db"]


async def test_stopped(folder: Path) -> None:
    backend = await started(folder)
    await backend.stop()
    await backend.stop()
    with pytest.raises(IntertieError, match="BACKEND_UNAVAILABLE"):
        await backend.run("docs/ask", FakeRun({"query": "cat"}))


def test_sections_and_pieces() -> None:
    assert list(passages("intro\n# A #\n\ntext\n## B\n~~~\n# c\n```\n~~~\n")) == [
        ("", "intro"),
        ("A", "text"),
        ("B", "~~~\n# c\n```\n~~~"),
    ]
    long = list(passages("# A\n\n" + "\n\n".join(["word " * 200] * 3) + "\n\n" + "x" * 4_000))
    assert all(heading == "A" and 0 < len(piece) <= 1_500 for heading, piece in long)
    assert sum(piece.count("x") for _, piece in long) == 4_000
