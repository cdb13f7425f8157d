"""Requirements that no check can see though their RFC does not say so, each with the reason: `unseen.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from intertie_conformance.registry import requirements


@cache
def not_observable() -> Mapping[str, str]:
    """Id → why no check sees it, for every duty, by the RFC's own word or by that of the table."""
    said = {r.id: r.reason or unseen().get(r.id, "") for r in requirements().values() if r.is_must}
    return {name: reason for name, reason in said.items() if reason}


@cache
def unseen() -> Mapping[str, str]:
    """Id → reason. Raises: ValueError for an unknown id or an empty reason."""
    raw: dict[str, str] = tomllib.loads((files("intertie_conformance") / "unseen.toml").read_text(encoding="utf-8"))
    bad = [name for name, reason in raw.items() if name not in requirements() or not reason]
    if bad:
        raise ValueError(f"unseen.toml: {', '.join(bad)}")
    return raw
