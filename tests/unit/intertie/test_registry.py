"""The registries, and the exception that names their rows (design §5 rule 5)."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from intertie import registry
from intertie.errors import IntertieError, from_problem, to_problem, trimmed
from intertie.v1 import link_pb2
from intertie.v1.envelope_pb2 import Problem


@pytest.mark.parametrize("row", registry.ERRORS.values(), ids=lambda row: row.name)
def test_error_row(row: registry.ErrorRow) -> None:
    assert row.grpc_code in grpc.StatusCode.__members__
    assert 400 <= row.http_status <= 599
    assert row.description.endswith(".")
    assert all(key.isidentifier() for key in row.metadata)
    assert row.reason == row.name == row.name.upper()


@pytest.mark.parametrize("row", registry.LIMITS.values(), ids=lambda row: row.name)
def test_limit_row(row: registry.LimitRow) -> None:
    assert 0 < row.minimum <= row.default <= row.maximum


def test_limits_of_the_wire_have_rows() -> None:
    assert {field.name for field in link_pb2.Limits.DESCRIPTOR.fields} <= set(registry.LIMITS)


def test_retention_is_counted_from_the_time_in_the_id_wherever_it_is_told() -> None:
    """RFC 0014 shows the row, RFC 0009 binds by IT-INV-019 and IT-INV-073; the node prunes by id."""
    told = json.loads((Path(registry.__file__).parents[1] / "registry/requirements.json").read_text())
    texts = {row["id"]: row["sentence"] for row in told["requirements"] if row["id"] in ("IT-INV-019", "IT-INV-073")}
    texts["row"] = registry.LIMITS["retention_ms"].description
    assert len(texts) == 3
    assert all("counted from the time in the" in text for text in texts.values())


def test_tables_are_read_only() -> None:
    for table in (registry.ERRORS, registry.UNITS, registry.ASSETS, registry.LIMITS, registry.FEATURES):
        assert table
        with pytest.raises(TypeError):
            table["NEW"] = None  # type: ignore[index]


def test_an_error_names_a_row_and_comes_back_from_the_wire() -> None:
    error = IntertieError("LOG_GAP", "Entries are missing.", expected="3", got="5")
    assert (error.row.fault, error.metadata) == ("peer", {"expected": "3", "got": "5"})
    assert str(error) == "LOG_GAP: Entries are missing. [expected=3, got=5]"
    problem = Problem.FromString(to_problem(error).SerializeToString())
    back = from_problem(problem)
    assert (back.reason, back.message, back.metadata) == (error.reason, error.message, error.metadata)
    assert back.row is error.row
    assert pickle.loads(pickle.dumps(error)).metadata == error.metadata


def test_an_unregistered_reason_cannot_be_raised() -> None:
    with pytest.raises(KeyError):
        IntertieError("NO_SUCH_REASON", "")


def test_an_unregistered_reason_from_the_wire_is_kept_and_treated_as_internal() -> None:
    error = from_problem(Problem(reason="NEWER_REASON", message="?", metadata={"a": "b"}))
    assert (error.reason, error.metadata) == ("NEWER_REASON", {"a": "b"})
    assert error.row is registry.ERRORS["INTERNAL"]
    assert to_problem(error).reason == "NEWER_REASON"


def test_a_long_message_is_cut() -> None:
    assert len(to_problem(IntertieError("INTERNAL", "x" * 5000)).message) == 1024


def test_every_part_of_a_problem_is_cut() -> None:
    """So that a problem, a proof of 16 KiB beside it, fits an entry of 64 KiB, and an event of 32 KiB."""
    many = {f"{number:02}" + "k" * 100: "\U0001f50c" * 5000 for number in range(40)}
    told = to_problem(IntertieError("INTERNAL", "\U0001f50c" * 5000, **many))
    assert sorted(told.metadata) == [f"{number:02}" + "k" * 62 for number in range(16)]
    assert {len(value) for value in told.metadata.values()} == {256}
    assert trimmed(told) == told
    assert told.ByteSize() < 24 * 1024
    assert len(trimmed(Problem(reason="R" * 5000)).reason) == 64


def test_the_modules_that_the_core_uses_do_not_import_grpc_or_asyncio() -> None:
    names = (
        "agreements amounts chain descriptors digests encoding envelope errors ids keys merkle names records registry"
    )
    code = (
        f"import importlib, sys\nfor name in {names.split()!r}:\n"
        "    importlib.import_module('intertie.' + name)\n"
        "sys.exit(', '.join({'grpc', 'asyncio'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
