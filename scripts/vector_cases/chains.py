"""Hash chains of logs: genesis from the first agreement's payload, heads over entries, session names."""

from __future__ import annotations

from intertie import chain
from vector_cases.common import Case, hostile, seed, valid


def cases() -> list[Case]:
    """Return every case of the area."""
    made = []
    for name, payload in (("empty", b""), ("payload", b"agreement payload")):
        output = {"genesis": chain.genesis(payload).hex()}
        text = "Hash of the exact payload bytes."
        made.append(valid(f"genesis-{name}", text, "genesis", {"payload": payload.hex()}, output))
    first, second = b"first entry", b"second entry"
    made += [
        _heads("none", "An empty log ends at its genesis.", []),
        _heads("two", "Each head covers the one before.", [first, second]),
        _heads("swapped", "Another order has another head.", [second, first]),
        _heads("joined", "Two entries and their concatenation differ.", [first + second]),
        _heads("empty-entry", "An entry of no bytes still counts.", [b""]),
        _heads("repeated", "A repeated entry counts twice.", [first, first]),
    ]
    for name, dialler, acceptor in (
        ("session", b"dialler", b"acceptor"),
        ("session-swapped", b"acceptor", b"dialler"),
    ):
        given = {"dialler": dialler.hex(), "acceptor": acceptor.hex()}
        output = {"session": chain.session_id(dialler, acceptor).hex()}
        made.append(valid(name, "Over both Open payloads, the dialler's first.", "session", given, output))
    made += _forks()
    attack = "A padded or cut head lets two logs share a head."
    return made + [
        hostile(
            f"head-{size}",
            f"A head of {size} bytes.",
            "parse_head",
            {"head": "00" * size},
            "INVALID_ARGUMENT",
            attack,
        )
        for size in (0, 31, 33, 34)
    ]


def _forks() -> list[Case]:
    """A head that was stated, against the entries that were sent."""
    genesis, entries = seed("genesis"), [b"first entry", b"second entry"]
    stated = chain.entry_head(chain.entry_head(genesis, entries[0]), entries[1]).hex()
    good = {"genesis": genesis.hex(), "entries": [entry.hex() for entry in entries], "head": stated}
    fork = "A log is shown that its author never signed, or one author signs two."
    rows = (
        ("changed", "A byte of an entry was changed.", {"entries": [entries[0].hex(), b"second entrY".hex()]}),
        ("dropped", "The first entry is missing.", {"entries": [entries[1].hex()]}),
        ("added", "An entry was added.", {"entries": [*good["entries"], b"".hex()]}),
        ("swapped", "The entries were swapped.", {"entries": list(reversed(good["entries"]))}),
        ("joined", "The entries were joined.", {"entries": ["".join(good["entries"])]}),
        ("genesis", "In another peering.", {"genesis": seed("elsewhere").hex()}),
    )
    return [
        valid("check-head", "The head of both entries.", "check_head", good, {}),
        *(
            hostile(f"check-{name}", text, "check_head", {**good, **change}, "LOG_FORK", fork)
            for name, text, change in rows
        ),
    ]


def _heads(name: str, text: str, entries: list[bytes]) -> Case:
    genesis = head = seed("genesis")
    heads = [head := chain.entry_head(head, entry) for entry in entries]
    given = {"genesis": genesis.hex(), "entries": [entry.hex() for entry in entries]}
    return valid(f"heads-{name}", text, "heads", given, {"heads": [head.hex() for head in heads]})
