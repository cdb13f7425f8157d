"""Grids that break RFC 0007, sections 3.1 to 3.3 and 3.9: chain, signatures, totals, a payer's limits."""

from __future__ import annotations

from collections.abc import Sequence

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie_conformance.grid.account import ME, THEM, Account, Hold, State
from intertie_conformance.grid.invocations import Asked
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.logs import Group, Logs
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.digests import next_head, total_bytes, total_of
from intertie_conformance.wire.keys import Key


@mutant(
    "IT-LOG-001",
    also=(
        "IT-LOG-*",
        "IT-CAT-046",
    ),
)
class NumbersFromZero(Rules):
    """Numbers its entries from 0."""

    def own_frame(self, frame: lk.Frame) -> lk.Frame:
        frame.first_seq = max(0, frame.first_seq - 1)
        return frame


@mutant("IT-LOG-002", also=("IT-LOG-*",))
class HeadsWithoutTag(Rules):
    """Chains entries that are hashed twice."""

    def own_signature(self, stated: lk.HeadSignature, logs: Logs) -> lk.HeadSignature:
        for data in logs.entries[ME][-1:]:
            stated.head = next_head(stated.head, data)
        return stated


@mutant(
    "IT-LOG-003",
    also=(
        "IT-LOG-002",
        "IT-LOG-004",
        "IT-LOG-026",
    ),
)
class ChangesEntries(Rules):
    """Sends other bytes when it sends an entry again."""

    def resent(self, link: Link, group: Group) -> lk.Frame:
        frame = super().resent(link, group)
        entries = [data + b"\x98\x06\x01" for data in frame.entries]
        del frame.entries[:]
        frame.entries.extend(entries)
        return frame


@mutant("IT-LOG-004", also=("IT-LOG-*",))
class TwoHeads(Rules):
    """Signs another head at the same seq in a later session."""

    def own_signature(self, stated: lk.HeadSignature, logs: Logs) -> lk.HeadSignature:
        last = logs.groups[ME][-1].signature if logs.groups[ME] else stated
        if (last.seq, last.session == stated.session) == (stated.seq, False):
            stated.head = bytes(32)
        return stated


@mutant("IT-LOG-010", also=("IT-LOG-*",))
class HasNotSeen(Rules):
    """Does not count the last entry that it answers as seen."""

    def own_seen(self, logs: Logs, seen: int) -> int:
        return max(logs.seen[ME], seen - 1)


@mutant("IT-LOG-011", also=("IT-LOG-*",))
class SeenFalls(Rules):
    """Names the seq before the last one that it has acknowledged."""

    def own_seen(self, logs: Logs, seen: int) -> int:
        return max(0, logs.account.acked[ME] - 1)


@mutant("IT-LOG-012", also=("IT-LOG-*",))
class ClockBehind(Rules):
    """Writes entries with a clock that lags by an hour."""

    def own_at(self, now: int, before: int) -> int:
        return max(now - 3_600_000, before)


@mutant("IT-LOG-012", also=("IT-LOG-*",))
class ClockFalls(Rules):
    """Lets its clock fall."""

    def own_at(self, now: int, before: int) -> int:
        return now if not before else before - 1


@mutant(
    "IT-LOG-013",
    also=(
        "IT-LOG-001",
        "IT-LOG-014",
        "IT-LOG-051",
        "IT-LOG-061",
        "IT-LOG-073",
        "IT-LOG-080",
    ),
)
class LongReject(Rules):
    """Rejects with more text than an entry holds."""

    def reject(self, hold: Hold, problem: object) -> pb.Entry | None:
        made = super().reject(hold, problem)  # type: ignore[arg-type]
        if made is not None:
            made.reject.problem.message = "no " * 30_000
        return made


@mutant(
    "IT-LOG-020",
    also=(
        "IT-LOG-*",
        "IT-ENC-022",
    ),
)
class SignsHeadsWithRoot(Rules):
    """Signs heads with its root key."""

    def head_key(self, link: Link) -> Key:
        return link.me.root


@mutant("IT-LOG-021", also=("IT-LOG-*",))
class SignsSeqBefore(Rules):
    """Signs the entry before its last one."""

    def own_signature(self, stated: lk.HeadSignature, logs: Logs) -> lk.HeadSignature:
        if stated.seq:
            stated.seq -= 1
            stated.head = logs.heads[ME][stated.seq]
        return stated


@mutant(
    "IT-LOG-022",
    also=(
        "IT-LOG-010",
        "IT-LOG-031",
        "IT-LOG-034",
        "IT-LOG-084",
    ),
)
class RefusesAfterSigning(Rules):
    """Acknowledges a critical kind that it does not know before it refuses it."""

    def signs_first(self, entries: Sequence[pb.Entry]) -> bool:
        return any(entry.kind == 99 for entry in entries)


@mutant("IT-LOG-023", also=("IT-LOG-*",))
class TakesBackAcks(Rules):
    """Acknowledges nothing with every third signature."""

    def own_signature(self, stated: lk.HeadSignature, logs: Logs) -> lk.HeadSignature:
        if len(logs.groups[ME]) % 3 == 2:
            stated.acked, stated.acked_head = 0, logs.heads[THEM][0]
        return stated


@mutant("IT-LOG-024", also=("IT-LOG-*",))
class OwesOneLess(Rules):
    """States a total that is one too low, once it owes something."""

    def own_signature(self, stated: lk.HeadSignature, logs: Logs) -> lk.HeadSignature:
        total = total_of(stated.agreed_total)
        stated.agreed_total = total_bytes(max(0, total - 1))
        return stated


@mutant(
    "IT-LOG-026",
    also=(
        "IT-LOG-001",
        "IT-LOG-003",
        "IT-LOG-004",
    ),
)
class ForgetsTheirs(Rules):
    """Keeps no entries of its peer."""

    def resends(self, link: Link, opened: lk.Open) -> list[lk.Frame]:
        return [frame for frame in super().resends(link, opened) if not frame.returned]


@mutant("IT-LOG-043", also=("IT-LOG-*",))
class FewTariffs(Rules):
    """Keeps the newest 64 tariffs."""

    def apply_tariff(self, account: Account, author: int, seq: int, entry: pb.Entry) -> str | None:
        reason = super().apply_tariff(account, author, seq, entry)
        for old in sorted(account.tariffs[author])[:-64]:
            del account.tariffs[author][old]
        return reason


@mutant("IT-LOG-067")
class ChargesExpired(Rules):
    """Ignores what is claimed of an expired order."""

    def expired(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        return None


@mutant("IT-LOG-067")
class CrossingCredit(Rules):
    """Takes a credit that crosses the expire."""

    def credit_expired(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        return self.credit_open(hold, seq, entry)


@mutant("IT-LOG-067", also=("IT-LOG-001",))
class NoCreditAfterExpire(Rules):
    """Takes no credit of an expired order."""

    def credit_expired(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        return "CHARGE_EXPIRED"


@mutant("IT-LOG-072", also=("IT-LOG-026",))
class NeverExpires(Rules):
    """Leaves its holds open for ever."""

    def expires_own(self, at: int, claim_until: int) -> bool:
        return False


@mutant("IT-LOG-090", also=("IT-LOG-069",))
class CountsNoCredits(Rules):
    """Leaves credits out of the total."""

    def agreed(self, hold: Hold, acked: int) -> int:
        seen = [claim for claim in hold.claims if claim.seq <= acked and not claim.refused]
        return seen[-1].amount if seen else 0


@mutant("IT-LOG-090")
class CreditsRefused(Rules):
    """Takes credits off what is not refused, not off what is claimed."""

    def agreed(self, hold: Hold, acked: int) -> int:
        unrefused = [claim.amount for claim in hold.claims if claim.seq <= acked and not claim.refused]
        return (unrefused[-1] if unrefused else 0) - sum(amount for seq, amount in hold.credits if seq <= acked)


@mutant("IT-LOG-091")
class OrdersOnCredit(Rules):
    """Does not look at its credit limit."""

    def credit_room(self, asked: Asked) -> None:
        return


@mutant("IT-LOG-092")
class OrdersUnagreed(Rules):
    """Orders whatever is not agreed."""

    def unagreed_room(self, asked: Asked) -> None:
        return


@mutant("IT-LOG-092")
class RaisesUnagreed(Rules):
    """Raises a grant whatever is not agreed."""

    def raises_grant(self, at_stake: int, limit: int) -> bool:
        return True


@mutant(
    "IT-LOG-093",
    also=(
        "IT-LOG-014",
        "IT-LOG-024",
        "IT-LOG-061",
        "IT-LOG-064",
        "IT-LOG-068",
        "IT-LOG-075",
        "IT-LOG-083",
        "IT-LOG-090",
    ),
)
class AgreesAtTheEnd(Rules):
    """Agrees to a claim only once its order has ended."""

    def agreed(self, hold: Hold, acked: int) -> int:
        return 0 if hold.state is State.OPEN else super().agreed(hold, acked)
