"""What operators type, and what they mean by it."""

from collections.abc import Mapping
from typing import Final, Protocol, TypeVar

from intertie.errors import IntertieError
from intertie.ids import parse_uuid7
from intertie.v1.task_pb2 import TaskState

MIN_PREFIX: Final = 6
"""So many digits of a key are taken as meaning it."""


class Named(Protocol):
    """Something that a grid is named by."""

    @property
    def grid(self) -> str:
        """The grid's name."""
        ...


N = TypeVar("N", bound=Named)


def pick(name: str, candidates: Mapping[str, N]) -> N | None:
    """The candidate of that grid, or whose key begins so; None if there is none.

    Raises: IntertieError INVALID_ARGUMENT if there are several.
    """
    prefix = name.lower()
    found = [one for key, one in candidates.items() if one.grid == name or _begins(key, prefix)]
    if len(found) > 1:
        raise IntertieError("INVALID_ARGUMENT", f"{name} means {len(found)} of them: give more digits of its key.")
    return found[0] if found else None


def _begins(key: str, prefix: str) -> bool:
    return len(prefix) >= MIN_PREFIX and key.startswith(prefix)


def unhex(fingerprint: str) -> bytes:
    """A fingerprint's bytes. Raises: IntertieError INVALID_ARGUMENT."""
    try:
        return bytes.fromhex(fingerprint)
    except ValueError:
        message = "A fingerprint is written in hex digits."
        raise IntertieError("INVALID_ARGUMENT", message, field="fingerprint") from None


def state(name: str) -> int:
    """The task state that is called so. Raises: IntertieError INVALID_ARGUMENT."""
    names = {key.removeprefix("TASK_STATE_"): number for key, number in TaskState.items()}
    if name.upper() not in names:
        message = f"No state is {name[:80]!r}: one of {', '.join(names)}."
        raise IntertieError("INVALID_ARGUMENT", message, field="states")
    return names[name.upper()]


def place_in_log(named: str, field: str) -> tuple[str, int]:
    """Peer and seq of "PEER/SEQ". Raises: IntertieError INVALID_ARGUMENT."""
    peer, _, seq = named.rpartition("/")
    if not peer or not (seq.isascii() and seq.isdigit() and len(seq) < 19 and int(seq) > 0):
        message = (
            f"{named[:300]!r} is not PEER/SEQ, a peer and a place in its log: intertie ledger log PEER shows both."
        )
        raise IntertieError("INVALID_ARGUMENT", message, field=field)
    return peer, int(seq)


def place_in_list(token: str) -> str:
    """The token of a page of invocations: the last key, "id@caller", of the page before; "" for the first page.

    Raises: IntertieError INVALID_ARGUMENT (IT-INV-143).
    """
    id, at, _ = token.partition("@")
    try:
        if token:
            parse_uuid7(id if at else "")
    except IntertieError:
        message = "The page token is not one of this node's."
        raise IntertieError("INVALID_ARGUMENT", message, field="page_token") from None
    return token
