"""The git repository that south serves: a throw-away clone of the project's own, or a small generated one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from msgspec import Struct

from intertie.errors import IntertieError

TIMEOUT_S: Final = 60
_AUTHOR: Final = ("-c", "user.name=Demo", "-c", "user.email=demo@south.example", "-c", "commit.gpgsign=false")
_CHAPTERS: Final = (
    ("Say what two grids share", "logs.md", "Two peered grids share two signed logs, one written by each.\n"),
    ("Say how a charge comes about", "charges.md", "A charge is cumulative and never exceeds its grant.\n"),
    ("Say what a signature says", "signatures.md", "One signature over both heads and the agreed total.\n"),
)


class Repository(Struct, frozen=True):
    """A git repository that may be read and thrown away."""

    folder: Path
    origin: str
    """For people: what it is."""


def checkout() -> Path | None:
    """The project's checkout that this module is in; None if it is installed elsewhere."""
    root = Path(__file__).parents[3]
    return root if (root / "pyproject.toml").is_file() and (root / "protocol" / "proto").is_dir() else None


def prepare(folder: Path) -> Repository:
    """Make the repository in `folder`, which does not exist yet (blocking).

    Raises: IntertieError BACKEND_UNAVAILABLE if git does not work.
    """
    root = checkout()
    if root is not None and _has_commits(root):
        try:
            _git("clone", "--quiet", "--local", "--", str(root), str(folder))
        except IntertieError:
            return prepare_generated(folder)  # e.g. the checkout belongs to somebody else
        return Repository(folder, "a clone of the project's own repository")
    return prepare_generated(folder)


def _has_commits(root: Path) -> bool:
    if not (root / ".git").exists():
        return False
    try:
        _git("-C", str(root), "rev-parse", "--verify", "--quiet", "HEAD")
    except IntertieError:
        return False
    return True


def prepare_generated(folder: Path) -> Repository:
    """Make a repository of a few commits in `folder` (blocking). Raises: as `prepare`."""
    folder.mkdir(parents=True, exist_ok=True)
    _git("-C", str(folder), "init", "--quiet")
    for subject, name, text in _CHAPTERS:
        (folder / name).write_text(text, encoding="utf-8")
        _git("-C", str(folder), "add", name)
        _git("-C", str(folder), *_AUTHOR, "commit", "--quiet", "--message", subject)
    return Repository(folder, "a small generated repository")


def _git(*arguments: str) -> None:
    """Run git. Raises: IntertieError BACKEND_UNAVAILABLE."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        subprocess.run(
            ["git", *arguments],
            env={**environment, "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or b""
        raise IntertieError(
            "BACKEND_UNAVAILABLE", f"git {arguments[-1]}: {said.decode('utf-8', 'replace').strip() or error}"
        ) from error
