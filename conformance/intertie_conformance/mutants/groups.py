"""Grids that break RFC 0005, section 3.7: taking groups."""

from __future__ import annotations

from collections.abc import Sequence

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.logs import Logs
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-LNK-090")
class KeyFirst(Rules):
    """Verifies a signature before it looks at its heads."""

    def check_signature(self, logs: Logs, author: int, new_heads: Sequence[bytes], signature: lk.HeadSignature) -> None:
        self.signed_key(logs, author, signature)
        super().check_signature(logs, author, new_heads, signature)


@mutant("IT-LNK-091", also=("IT-LNK-092",))
class OnlyNext(Rules):
    """Takes entries only from the next seq on."""

    def follows(self, logs: Logs, author: int, first_seq: int) -> None:
        if first_seq != logs.seq(author) + 1:
            raise Refusal("LOG_FORK", "These seqs are held already.")


@mutant("IT-LNK-092", also=("IT-LNK-090", "IT-LNK-133"))
class AnyFirstSeq(Rules):
    """Does not look at the seq with which entries begin."""

    def follows(self, logs: Logs, author: int, first_seq: int) -> None:
        return


@mutant("IT-LNK-093", also=("IT-LNK-090", "IT-LNK-133"))
class AnyOwnHead(Rules):
    """Does not compare the signed head."""

    def signed_head(self, head: bytes, signature: lk.HeadSignature) -> None:
        return


@mutant("IT-LNK-093")
class AnyAckedHead(Rules):
    """Does not compare the acknowledged head."""

    def signed_acked_head(self, logs: Logs, author: int, signature: lk.HeadSignature) -> None:
        return


@mutant("IT-LNK-094", also=("IT-LNK-090", "IT-LNK-133"))
class AnySeq(Rules):
    """Does not look at the signed seq."""

    def signed_seq(self, logs: Logs, author: int, seq: int, signature: lk.HeadSignature) -> None:
        return


@mutant("IT-LNK-094")
class AnyAcked(Rules):
    """Lets acknowledgements fall and lead."""

    def signed_acked(self, logs: Logs, author: int, signature: lk.HeadSignature) -> None:
        return


@mutant("IT-LNK-095", also=("IT-LNK-090",))
class AnyKey(Rules):
    """Does not verify head signatures."""

    def signed_key(self, logs: Logs, author: int, signature: lk.HeadSignature) -> None:
        return


@mutant("IT-LNK-096", also=("IT-LNK-078",))
class AnyEntry(Rules):
    """Takes what does not decode for an entry of no kind."""

    def entry_payload(self, data: bytes) -> pb.Entry:
        try:
            return super().entry_payload(data)
        except Refusal:
            return pb.Entry()


@mutant("IT-LNK-097", also=("IT-LNK-090",))
class AnySeen(Rules):
    """Does not look at `seen`."""

    def entry_seen(self, logs: Logs, author: int, entry: pb.Entry) -> None:
        return


@mutant("IT-LNK-097")
class SeenNeverFalls(Rules):
    """Only sees to it that `seen` does not lead."""

    def entry_seen(self, logs: Logs, author: int, entry: pb.Entry) -> None:
        if entry.seen > logs.seq(1 - author):
            raise Refusal("SEEN_INVALID", "An entry has seen the future.")


@mutant("IT-LNK-098", also=("IT-LNK-090",))
class AnyAt(Rules):
    """Does not look at `at`."""

    def entry_at(self, logs: Logs, author: int, entry: pb.Entry) -> None:
        return


@mutant("IT-LNK-099")
class AnyLead(Rules):
    """Takes entries of the future."""

    def entry_clock(self, entry: pb.Entry, latest: int) -> None:
        return


@mutant("IT-LNK-100")
class AckedBelowSeen(Rules):
    """Lets a signature acknowledge less than its entries have seen."""

    def signed_seen(self, logs: Logs, author: int, signature: lk.HeadSignature) -> None:
        return


@mutant("IT-LNK-101", also=("IT-LNK-133",))
class AnyTotal(Rules):
    """Does not compute the signed total."""

    def signed_total(self, logs: Logs, author: int, signature: lk.HeadSignature) -> None:
        return


@mutant("IT-LNK-054")
class AnySession(Rules):
    """Takes signatures of other sessions at any time."""

    def signed_session(self, link: Link, signature: lk.HeadSignature) -> None:
        link.confirmed = True


@mutant("IT-LNK-049")
class AnyReturn(Rules):
    """Takes any returned signature for its own."""

    def returned_own(self, link: Link, signature: lk.HeadSignature) -> None:
        return
