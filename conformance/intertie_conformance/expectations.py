"""Expected failures: they live with the vendor, each with a reason; one that does not fail is stale.

# expected.toml
"IT-LNK-031" = "We fork logs on purpose in test mode; ticket 17."
"opening.forked_cursors" = "The same, for one check."
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from intertie_conformance.config import ConfigError
from intertie_conformance.registry import requirements
from intertie_conformance.runner import Run


def load(path: Path) -> Mapping[str, str]:
    """Requirement or check → reason. Raises: ConfigError."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    for name, reason in raw.items():
        if not isinstance(reason, str) or not reason.strip():
            raise ConfigError(f"{path}: {name}: a reason is expected")
        if name.startswith("IT-") and name not in requirements():
            raise ConfigError(f"{path}: there is no requirement {name}")
    return raw


def apply(run: Run, expected: Mapping[str, str]) -> None:
    """Mark failures that were expected; note expectations that were run and did not fail."""
    for name, reason in expected.items():
        meant = [outcome for outcome in run.outcomes if name in (outcome.id, outcome.check)]
        red = [outcome for outcome in meant if outcome.is_red]
        for outcome in red:
            outcome.reason = reason
        if meant and not red:
            run.stale.append(name)
