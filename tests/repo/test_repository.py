"""What must hold for the repository as a whole, whatever its code does."""

from __future__ import annotations

import re
import subprocess
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 400
MAX_COLUMNS_OF_TYPESCRIPT = 140

# Written in pieces so that this file does not contain what it forbids.
DOWNLOAD_HOSTS = [
    ".".join(labels)
    for labels in (
        ("pypi", "org"),
        ("pypi", "python", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("deb", "debian", "org"),
        ("archive", "ubuntu", "com"),
        ("proxy", "golang", "org"),
        ("static", "crates", "io"),
    )
]
INDEX_OPTIONS = ["--" + "index-url", "--" + "extra-index-url", "--" + "find-links", "--" + "trusted-host"]
FOREIGN_WORDS = [
    "co-" + "authored-by",
    "coding " + "assistant",
    "coding " + "session",
    "chat " + "transcript",
    "as an ai " + "model",
    "language model, " + "i",
]
WORKPLACES = re.compile(r"(?<![\w.$}])/(?:" + "work/(?:main|shared)|" + "home/[a-z]|" + r"root/|" + r"Users/[A-Za-z])")


def project_files() -> list[Path]:
    """Every file that is tracked, or would be by `git add .`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def texts() -> Iterator[tuple[str, str]]:
    """Name and text of every project file that is text."""
    for path in project_files():
        try:
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def is_generated(path: Path) -> bool:
    return bool(re.search(r"_pb2(_grpc)?\.pyi?$", path.name))


def project() -> dict[str, object]:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert isinstance(table, dict)
    return table


def direct_dependencies() -> list[str]:
    table = project()
    extras: dict[str, list[str]] = table["optional-dependencies"]  # type: ignore[assignment]
    base: list[str] = table["dependencies"]  # type: ignore[assignment]
    return sorted({*base, *(line for lines in extras.values() for line in lines)})


def constraint_lines() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pins() -> dict[str, Requirement]:
    return {canonicalize_name(pin.name): pin for pin in map(Requirement, constraint_lines())}


def test_files_are_found() -> None:
    names = {str(path.relative_to(ROOT)) for path in project_files()}
    assert {
        "pyproject.toml",
        "constraints.txt",
        "Makefile",
        ".ci/run",
        "tests/repo/test_repository.py",
    } <= names


@pytest.mark.parametrize("forbidden", [*DOWNLOAD_HOSTS, *INDEX_OPTIONS])
def test_no_download_host_is_named(forbidden: str) -> None:
    assert [name for name, text in texts() if forbidden in text.lower()] == []


@pytest.mark.parametrize("forbidden", FOREIGN_WORDS)
def test_texts_speak_of_the_project_alone(forbidden: str) -> None:
    pattern = re.compile(rf"\b{re.escape(forbidden)}\b", re.IGNORECASE)
    assert [name for name, text in texts() if pattern.search(text)] == []


def test_no_file_names_the_place_where_it_was_written() -> None:
    found = [(name, match.group()) for name, text in texts() for match in WORKPLACES.finditer(text)]
    assert found == []


def test_no_lock_file_with_addresses_is_tracked() -> None:
    names = {path.name for path in project_files()}
    assert names & {"package-lock.json", "yarn.lock", "pnpm-lock.yaml", "poetry.lock", "uv.lock"} == set()


@pytest.mark.parametrize("line", direct_dependencies())
def test_every_direct_dependency_is_pinned_within_its_range(line: str) -> None:
    wanted = Requirement(line)
    pin = pins().get(canonicalize_name(wanted.name))
    assert pin is not None, f"{wanted.name} is missing from constraints.txt"
    version = str(pin.specifier).removeprefix("==")
    assert wanted.specifier.contains(version, prereleases=True), f"{pin} is outside {wanted}"


@pytest.mark.parametrize("line", constraint_lines())
def test_every_constraint_is_an_exact_version(line: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line)


def test_node_tools_have_exact_versions() -> None:
    text = (ROOT / "package.json").read_text(encoding="utf-8")
    versions = dict(re.findall(r'"(@?[\w/-]+)": "(\^|~|>=|\*|latest)', text))
    assert versions == {}


def test_every_proto_is_in_package_v1() -> None:
    protos = [path for path in project_files() if path.suffix == ".proto"]
    assert protos, "no .proto file found"
    for path in protos:
        packages = re.findall(r"^package\s+([\w.]+)\s*;", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert (path.parent.relative_to(ROOT).as_posix(), packages) == (
            "protocol/proto/intertie/v1",
            ["intertie.v1"],
        ), path


def test_no_python_file_is_long() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in project_files()
        if path.suffix in {".py", ".pyi"} and not is_generated(path)
    }
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def typescript_files() -> dict[str, list[str]]:
    return {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").splitlines()
        for path in project_files()
        if path.suffix == ".ts"
    }


def test_no_typescript_file_is_long() -> None:
    files = typescript_files()
    assert files
    assert {name: len(lines) for name, lines in files.items() if len(lines) > MAX_LINES} == {}


def test_no_line_of_typescript_is_long() -> None:
    files = typescript_files()
    assert files
    long = [
        f"{name}:{number}"
        for name, lines in files.items()
        for number, line in enumerate(lines, start=1)
        if len(line) > MAX_COLUMNS_OF_TYPESCRIPT
    ]
    assert long == []


def test_the_readme_s_python_is_python() -> None:
    blocks = re.findall(r"(?m)(?:^    .*\n|^\n)+", (ROOT / "README.md").read_text(encoding="utf-8"))
    programs = [textwrap.dedent(block) for block in blocks if "intertie.client import" in block]
    assert programs
    for program in programs:
        compile(program, "README.md", "exec")


def test_the_architecture_names_every_module_of_the_core() -> None:
    named = set(re.findall(r"`(\w+)`", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")))
    modules = {path.stem for path in (ROOT / "reference_node/intertie_node/core").glob("*.py")} - {"__init__"}
    assert modules - named == set()


def test_packages_are_typed() -> None:
    for package in ("protocol/intertie", "reference_node/intertie_node"):
        assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize("name", [".ci/run", "scripts/generate-protos", "scripts/install-system-packages"])
def test_programs_are_executable(name: str) -> None:
    assert (ROOT / name).stat().st_mode & 0o111


def test_local_links_of_documents_lead_somewhere() -> None:
    broken = []
    for path in project_files():
        if path.suffix == ".md":
            for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
                if "://" not in target and not (path.parent / target).exists():
                    broken.append((path.name, target))
    assert broken == []
