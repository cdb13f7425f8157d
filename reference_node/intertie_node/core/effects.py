"""What a batch of steps wants done: rows first, then words, then work (design §7, §11).

A step never acts on the world. It adds rows to `Changes`, words to the outboxes and replies, and work
to be started; the engine commits the rows of many steps in one transaction, then sends, then starts.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

Row = tuple[Any, ...]


class Changes:
    """Rows of one transaction.

    `appends` holds rows that are only ever inserted, by table; `puts` holds the latest state of keyed
    rows, by table and primary key, so that a row changed often in a batch is written once; a `None`
    row deletes. Column order is that of `intertie_node.ports.TABLES`.
    """

    __slots__ = ("appends", "puts")

    def __init__(self) -> None:
        self.appends: defaultdict[str, list[Row]] = defaultdict(list)
        self.puts: defaultdict[str, dict[Row, Row | None]] = defaultdict(dict)

    def append(self, table: str, row: Row) -> None:
        """Insert `row` into an append-only table."""
        self.appends[table].append(row)

    def put(self, table: str, key: Row, row: Row | None) -> None:
        """Set the row of `table` whose primary key is `key` (a prefix of the row); `None` deletes it."""
        self.puts[table][key] = row

    def __bool__(self) -> bool:
        return bool(self.appends or self.puts)


class Effects:
    """Everything that one batch of steps asks of the shell, in the order in which it may happen."""

    __slots__ = ("changes", "now", "replies", "sends", "work")

    def __init__(self, now: int) -> None:
        self.now = now
        """Milliseconds since the Unix epoch, the same for every step of the batch."""
        self.changes = Changes()
        self.sends: list[tuple[Any, bytes]] = []
        """(connection, serialized frame) in order of sending."""
        self.replies: list[tuple[Callable[[Any], object], Any]] = []
        """(callback, value): answers to consumers and operators, given after the commit."""
        self.work: list[Any] = []
        """Commands of `intertie_node.core.work`: what is started after the sends."""

    def reply(self, callback: Callable[[Any], object], value: Any) -> None:
        """Give `value` to `callback` once the batch is durable."""
        self.replies.append((callback, value))
