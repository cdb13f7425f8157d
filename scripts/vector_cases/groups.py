"""Groups of entries with the head signature that ends them (RFC 0005, section 3.7), as side "a" takes them.

Groups are taken in order; those of log "b" come from the peer, whose clock is judged at `now`. A valid vector gives
seq and head of each log and each side's agreed total at its last signature. In a hostile vector the last group closes
the link with the vector's error, and leaves no trace.
"""

from __future__ import annotations

from typing import Any

from intertie import chain
from intertie.amounts import total_to_bytes
from intertie.v1.entry_pb2 import EntryKind
from intertie.v1.link_pb2 import HeadSignature
from vector_cases.common import NOW, Case, hostile, key, seed, valid
from vector_cases.entries import CLAIM_WINDOW, MAX_HOLD, charge, entry, grant, order, refuse

GENESIS, SESSION = seed("genesis"), seed("session")
SKEW = 2_000
FORGED, FORK = "Entries that their author never signed move money.", "One author shows two logs."
STALE, DEBT = "What was acknowledged is taken back.", "The two sides owe different amounts, and each has proof."


class Pair:
    """Both logs while a vector is made."""

    def __init__(self) -> None:
        self.heads: dict[str, list[bytes]] = {"a": [GENESIS], "b": [GENESIS]}
        self.totals = {"a": 0, "b": 0}
        self.groups: list[Case] = []

    def group(self, log: str, *entries: bytes, total: int = 0, acked: int = -1, **wrong: Any) -> Pair:
        """Add a group; `acked` is all of the other log unless given, `wrong` are fields that a liar states."""
        own, other = self.heads[log], self.heads["b" if log == "a" else "a"]
        first, repeated = len(own), wrong.pop("repeated", 0)
        for data in entries[repeated:]:
            own.append(chain.entry_head(own[-1], data))
        acked = len(other) - 1 if acked < 0 else acked
        stated = {
            "seq": len(own) - 1,
            "head": own[-1],
            "acked": acked,
            "acked_head": other[min(acked, len(other) - 1)],
            "agreed_total": total,
        }
        stated |= {name: value for name, value in wrong.items() if name in stated}
        signature = self._sign(wrong.get("signer", log), wrong.get("session", SESSION), stated)
        for change in wrong.get("spoil", ()):
            change(signature)
        self.totals[log] = total
        self.groups.append(
            {
                "log": log,
                "first_seq": str(wrong.get("first_seq", first - repeated if entries else 0)),
                "entries": [data.hex() for data in entries],
                "signature": signature.SerializeToString(deterministic=True).hex(),
            }
        )
        return self

    @staticmethod
    def _sign(signer: str, session: bytes, stated: dict[str, Any]) -> HeadSignature:
        made = HeadSignature(**{**stated, "agreed_total": total_to_bytes(stated["agreed_total"])}, session=session)
        message = chain.link_signature_bytes(GENESIS, session, **stated)
        made.signatures.add(key_id=key(signer).public.key_id, value=key(signer).sign(message))
        return made

    @property
    def given(self) -> Case:
        """The input of a vector."""
        return {
            "genesis": GENESIS.hex(),
            "terms": {
                "claim_window_ms": str(CLAIM_WINDOW),
                "max_hold_ms": str(MAX_HOLD),
                "max_skew_ms": str(SKEW),
            },
            "now": str(NOW),
            "keys": {side: key(side).public.spki.hex() for side in ("a", "b")},
            "groups": self.groups,
        }

    @property
    def output(self) -> Case:
        """What a valid vector leads to."""
        return {
            side: {"seq": str(len(heads) - 1), "head": heads[-1].hex(), "agreed_total": str(self.totals[side])}
            for side, heads in self.heads.items()
        }


def cases() -> list[Case]:
    """Return every case of the area."""
    return [*_good(), *_counters(), *_signatures(), *_totals()]


def _start() -> Pair:
    """An order of 100 with a grant of 40, and a charge of 15."""
    return Pair().group("a", order()).group("b", charge(0, 10, 15))


def _good() -> list[Case]:
    two = (order(), grant(60))

    def again(made: HeadSignature) -> None:
        made.signatures.append(made.signatures[0])

    def unknown(made: HeadSignature) -> None:
        made.signatures.add(key_id=b"no digest", value=b"")

    rows = (
        ("charge", "An order and its charge.", _start()),
        ("acknowledged", "A signature alone agrees to the charge.", _start().group("a", total=15)),
        ("crossed", "A signature that had not seen the charge yet.", _start().group("a", grant(60), acked=0)),
        ("many", "Several entries in one group.", Pair().group("a", *two).group("b", charge(0, 40, 60, seen=2))),
        (
            "repeated",
            "Entries that are held already are skipped.",
            _start().group("a", order(), grant(60), repeated=1, acked=0),
        ),
        (
            "void",
            "A void entry stays in the chain.",
            Pair().group("a", order()).group("b", charge(0, 10, 14)).group("a", refuse(1, 1, "CHARGE_ARITHMETIC")),
        ),
        (
            "repeated-other",
            "What is skipped is not compared.",
            _start().group("a", entry(200), grant(60), repeated=1, acked=0),
        ),
        ("signed-again", "One key signs twice, rightly.", _start().group("b", entry(200, seen=1), spoil=[again])),
        ("signed-besides", "An unknown key signs too.", _start().group("b", entry(200, seen=1), spoil=[unknown])),
        ("refused", "A refused charge is not agreed.", _start().group("a", refuse(1, 1))),
        ("uncritical", "An unknown kind of 128 or above.", _start().group("b", entry(200, seen=1))),
        ("clock-lead", "As far ahead as is agreed.", _start().group("b", charge(0, 20, 30, at=NOW + SKEW))),
        ("session", "A group of an earlier session.", _start().group("b", charge(0, 20, 30), session=seed("earlier"))),
    )
    return [valid(name, text, "take", pair.given, pair.output) for name, text, pair in rows]


def _rows(rows: tuple[tuple[str, str, Pair, str, str], ...]) -> list[Case]:
    return [hostile(name, text, "take", pair.given, error, attack) for name, text, pair, error, attack in rows]


def _counters() -> list[Case]:
    gap, blind, clock = (
        "Entries are left out.",
        "An author is judged by what it had not seen.",
        "Expiry is brought about.",
    )
    seen, again = charge(0, 20, 30, seen=2), charge(0, 20, 30)
    garbage, zero, early = b"\x08", entry(EntryKind.ENTRY_KIND_TARIFF), entry(200, at=-1)
    return _rows(
        (
            ("gap", "A seq is left out.", _start().group("b", again, first_seq=3), "LOG_GAP", gap),
            ("gap-zero", "A first seq of 0.", _start().group("b", again, first_seq=0), "LOG_GAP", gap),
            ("malformed", "Bytes that are no entry.", _start().group("b", garbage), "ENTRY_MALFORMED", "A crash."),
            ("seen-ahead", "It has seen what is not there.", _start().group("b", seen), "SEEN_INVALID", blind),
            ("seen-fell", "Its seen falls.", _start().group("b", zero), "SEEN_INVALID", blind),
            (
                "seen-below-acked",
                "Its seen lies below what a signature of its author has acknowledged.",
                Pair().group("a", order()).group("b").group("b", zero),
                "SEEN_INVALID",
                blind,
            ),
            ("at-negative", "The first entry's clock is below 0.", Pair().group("b", early), "AT_DECREASED", clock),
            ("at-fell", "Its clock falls.", _start().group("b", charge(0, 20, 30, at=NOW - 1)), "AT_DECREASED", clock),
            (
                "clock",
                "One millisecond too far ahead.",
                _start().group("b", charge(0, 20, 30, at=NOW + SKEW + 1)),
                "CLOCK",
                clock,
            ),
        )
    )


def _signatures() -> list[Case]:
    again, wrong = charge(0, 20, 30), "SIGNATURE_INVALID"

    def flip(made: HeadSignature) -> None:
        value = made.signatures[0].value
        made.signatures[0].value = bytes([value[0] ^ 1]) + value[1:]

    def drop(made: HeadSignature) -> None:
        del made.signatures[:]

    def cut_total(made: HeadSignature) -> None:
        made.agreed_total = made.agreed_total[1:]

    def cut_session(made: HeadSignature) -> None:
        made.session = made.session[1:]

    def nine(made: HeadSignature) -> None:
        made.signatures.extend([made.signatures[0]] * 8)

    def double(made: HeadSignature) -> None:
        made.signatures.add(key_id=made.signatures[0].key_id, value=bytes(64))

    return _rows(
        (
            ("signed-flipped", "A bit was changed.", _start().group("b", again, spoil=[flip]), wrong, FORGED),
            ("signed-none", "No signature.", _start().group("b", again, spoil=[drop]), wrong, FORGED),
            ("signed-other", "By the other side's key.", _start().group("b", again, signer="a"), wrong, FORGED),
            ("signed-stranger", "By an unknown key.", _start().group("b", again, signer="c"), wrong, FORGED),
            ("signed-double", "A second, wrong one.", _start().group("b", again, spoil=[double]), wrong, FORGED),
            ("signed-nine", "Nine right signatures.", _start().group("b", again, spoil=[nine]), wrong, "A flood."),
            (
                "signed-session",
                "A session of 31 bytes.",
                _start().group("b", again, spoil=[cut_session]),
                wrong,
                FORGED,
            ),
            ("signed-total", "A total of 15 bytes.", _start().group("b", again, spoil=[cut_total]), wrong, DEBT),
            ("seq-ahead", "Its seq is not that of its last entry.", _start().group("b", again, seq=3), wrong, FORGED),
            ("acked-ahead", "It acknowledges what was never sent.", _start().group("b", again, acked=2), wrong, STALE),
            ("acked-fell", "It acknowledges less than before.", _start().group("b", acked=0), wrong, STALE),
            (
                "acked-below-seen",
                "It acknowledges less than its entry has seen.",
                Pair().group("a", order()).group("b", charge(0, 10, 15), acked=0),
                wrong,
                STALE,
            ),
            ("fork-own", "Another head of its own log.", _start().group("b", again, head=seed("f")), "LOG_FORK", FORK),
            ("fork-other", "Another head of ours.", _start().group("b", again, acked_head=seed("f")), "LOG_FORK", FORK),
            (
                "fork-first",
                "Fork and total are both wrong: the fork comes first.",
                _start().group("b", again, head=seed("f"), total=1),
                "LOG_FORK",
                FORK,
            ),
            (
                "malformed-first",
                "An entry and the total are wrong: the entry comes first.",
                _start().group("b", b"\x08", total=1),
                "ENTRY_MALFORMED",
                DEBT,
            ),
        )
    )


def _totals() -> list[Case]:
    late, mismatch = "What one side has signed the other cannot claim.", "TOTAL_MISMATCH"
    bought = Pair().group("b", order()).group("a", charge(0, 10, 15))
    return _rows(
        (
            ("total-low", "It agrees to less.", _copy(bought).group("b", total=14), mismatch, late),
            ("total-high", "It agrees to more.", _copy(bought).group("b", total=16), mismatch, DEBT),
            ("total-none", "It agrees to nothing.", _copy(bought).group("b", total=0), mismatch, late),
            ("total-negative", "It claims instead.", _copy(bought).group("b", total=-15), mismatch, DEBT),
            (
                "total-refused",
                "It refuses and agrees at once.",
                _copy(bought).group("b", refuse(1, 1), total=15),
                mismatch,
                DEBT,
            ),
        )
    )


def _copy(pair: Pair) -> Pair:
    made = Pair()
    made.heads = {side: list(heads) for side, heads in pair.heads.items()}
    made.totals, made.groups = dict(pair.totals), list(pair.groups)
    return made
