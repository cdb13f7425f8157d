"""RFC 0013: what every sender of an Open keeps."""

from __future__ import annotations

from intertie_conformance.passive import Sight, passive
from intertie_conformance.registry import table
from intertie_conformance.watching.link import _open


@passive("IT-VER-010")
def required_are_named(sight: Sight) -> str | None:
    """What an Open requires it names among its features."""
    opened = _open(sight)
    if opened is None:
        return None
    missing = set(opened.required_features) - set(opened.features)
    return f"required and not named: {sorted(missing)}" if missing else ""


@passive("IT-VER-012")
def nothing_planned_required(sight: Sight) -> str | None:
    """No feature is required that is only planned."""
    opened = _open(sight)
    if opened is None:
        return None
    planned = [name for name in opened.required_features if table("features").get(name, {}).get("status") == "planned"]
    return f"required and planned: {planned}" if planned else ""
