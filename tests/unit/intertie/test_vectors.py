"""Every vector, carried out by the package; and the form of the vector files themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.unit.intertie.operations import OPERATIONS
from tests.unit.intertie.vectors import FILES, FOLDER, ROOT, load

from intertie.errors import IntertieError
from intertie.registry import ERRORS

VECTORS = [pytest.param(area, vector, id=vector["id"]) for area, vector in load()]


@pytest.mark.parametrize(("area", "vector"), VECTORS)
def test_vector(area: str, vector: dict[str, Any]) -> None:
    operation = OPERATIONS[area, vector["operation"]]
    if vector["validity"] == "valid":
        assert operation(vector["input"]) == vector["output"]
        return
    with pytest.raises(IntertieError) as caught:
        operation(vector["input"])
    assert caught.value.reason == vector["error"], str(caught.value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_fits_the_schema(path: Path) -> None:
    schema = json.loads((FOLDER / "schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(json.loads(path.read_text()))


def test_ids_are_unique_and_errors_registered() -> None:
    ids = [vector["id"] for _, vector in load()]
    assert len(ids) == len(set(ids))
    assert {vector["error"] for _, vector in load() if "error" in vector} <= set(ERRORS)


def test_every_operation_is_used() -> None:
    assert {(area, vector["operation"]) for area, vector in load()} == set(OPERATIONS)


def test_each_area_has_valid_and_hostile_vectors() -> None:
    kinds = {(area, vector["validity"]) for area, vector in load()}
    areas = {area for area, _ in kinds}
    assert kinds == {(area, kind) for area in areas for kind in ("valid", "hostile")}


def test_files_are_fresh() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "generate-vectors"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
