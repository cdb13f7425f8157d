"""What a grid says on a link, and when (RFC 0005, RFC 0007)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.registry import LIMITS
from intertie_conformance.wire import digests
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from intertie_conformance.grid.link import Link
    from intertie_conformance.grid.logs import Group, Logs
    from intertie_conformance.wire.keys import Key


class SpeakingRules:
    """Own Opens, signatures, resending, answers."""

    def own_open(self, link: Link, fields: dict[str, object]) -> Mapping[str, object]:
        """The fields of the own Open."""
        return fields

    def own_limits(self) -> lk.Limits:
        """What is declared: the registry's defaults, and inputs larger than others may take."""
        names = [field.name for field in lk.Limits.DESCRIPTOR.fields]
        usual = {name: LIMITS[name].default for name in names}
        return lk.Limits(**{**usual, "inline_bytes": LIMITS["inline_bytes"].maximum})

    def sign_open(self, link: Link, payload: bytes) -> bytes:
        """The own Open as an envelope."""
        return link.me.seal_open(payload)

    def session(self, dialled: bool, mine: bytes, theirs: bytes) -> bytes:
        """The name of the session: over both Opens, the dialler's first."""
        return digests.session(mine, theirs) if dialled else digests.session(theirs, mine)

    def own_signature(self, stated: lk.HeadSignature, logs: Logs) -> lk.HeadSignature:
        """What the own signature states."""
        return stated

    def own_seen(self, logs: Logs, seen: int) -> int:
        """`seen` of an own entry: all that has been processed."""
        return seen

    def own_at(self, now: int, before: int) -> int:
        """`at` of an own entry: the clock, never falling."""
        return max(now, before)

    def head_key(self, link: Link) -> Key:
        """The key that signs heads."""
        return link.me.key

    def own_entry(self, data: bytes) -> bytes:
        """The bytes of an own entry as they are sent."""
        return data

    def returns_signature(self, link: Link) -> lk.Frame | None:
        """First after both Opens: the other side's last signature, as far as one is held."""
        groups = link.logs.groups[THEM]
        return lk.Frame(returned_signature=groups[-1].signature) if groups else None

    def resends(self, link: Link, opened: lk.Open) -> list[lk.Frame]:
        """Groups that the other side lacks, of both logs, interleaved so that it can apply each."""
        own = [g for g in link.logs.groups[ME] if g.signature.seq > opened.other.seq]
        other = [g for g in link.logs.groups[THEM] if g.signature.seq > opened.own.seq]
        own_at, other_at = opened.other.seq, opened.own.seq
        frames = []
        while own or other:
            if own and (own[0].signature.acked <= other_at or not other):
                group = own.pop(0)
                own_at = group.signature.seq
                frames.append(self.resent(link, group))
            elif other[0].signature.acked <= own_at or not own:
                group = other.pop(0)
                other_at = group.signature.seq
                frames.append(self.returned(group))
            else:
                break
        return frames

    def resent(self, link: Link, group: Group) -> lk.Frame:
        """An own group with the signature of its time and the inputs of open orders."""
        frame = lk.Frame(first_seq=group.first, entries=group.entries, signature=group.signature)
        for seq in range(group.first, group.signature.seq + 1):
            if seq in link.inputs_sent and self.resends_inputs():
                frame.inputs.add(order_seq=seq, data=link.inputs_sent[seq])
        return frame

    def returned(self, group: Group) -> lk.Frame:
        """A group that the other side has lost."""
        entries = [self.returned_entry(data) for data in group.entries]
        return lk.Frame(first_returned=group.first, returned=entries, returned_signature=group.signature)

    def is_complete(self, link: Link) -> bool:
        """Whether both logs are held up to the higher cursors and all that own signatures acknowledged."""
        own, other = link.targets
        return link.logs.seq(ME) >= own and link.logs.seq(THEM) >= other

    def signs_after_open(self) -> bool:
        """After both Opens each side signs, even with nothing to append."""
        return True

    def acknowledges(self, frame: lk.Frame, fresh: int) -> bool:
        """A frame with entries is answered by a signature; one with a signature alone is not."""
        return bool(frame.entries)

    def may_sign(self, link: Link) -> bool:
        """Nothing is signed before the first opening of a link is complete."""
        return link.was_open

    def superseded(self) -> Refusal:
        """Why the stream goes that does not stay."""
        return Refusal("SUPERSEDED", "A newer stream of this link has taken over.")

    def one_link(self) -> bool:
        """Whether two peerings with one grid share a link: never."""
        return False

    def bad_open_ends(self) -> bool:
        """Whether a bad Open ends the current stream: never."""
        return False

    def own_frame(self, frame: lk.Frame) -> lk.Frame:
        """An own frame as it is sent."""
        return frame

    def signs_first(self, entries: Sequence[pb.Entry]) -> bool:
        """Entries are acted on before they are acknowledged."""
        return False

    def own_bytes(self, frame: lk.Frame) -> bytes:
        """An own frame on the wire."""
        return frame.SerializeToString()

    def heard_entry(self, data: bytes) -> bytes:
        """The bytes of an entry as they are hashed and kept."""
        return data

    def returned_entry(self, data: bytes) -> bytes:
        """The bytes of an entry as they are returned."""
        return data

    def events_first(self) -> bool:
        """Entries of a frame are processed before its events."""
        return False

    def stray_input(self, seq: int) -> None:
        """An input that belongs to no new order of its frame is ignored."""

    def ends(self, frame: lk.Frame) -> bool:
        """A close ends the stream."""
        return frame.HasField("close")

    def closes_with(self, link: Link, links: list[Link]) -> list[Link]:
        """The links that are closed for a fault of one: that one."""
        return [link]

    def forgives(self, reason: str) -> bool:
        """A link opens again, whatever closed it."""
        return True

    def deaf(self) -> bool:
        """Frames on a stream that was closed here are ignored."""
        return True

    def reads_while_writing(self) -> bool:
        """Reading never waits for writing."""
        return True

    def dead_after_s(self) -> float:
        """Seconds of silence after which a link is closed."""
        return 30.0

    def resends_inputs(self) -> bool:
        """Inputs of open orders go beside them again."""
        return True

    def open_within_s(self) -> float:
        """Seconds that an accepted stream may stay silent."""
        return 10.0

    def ping_after_s(self) -> float:
        """Seconds of silence after which a peer is pinged."""
        return 10.0

    def first_said(self) -> lk.Frame | None:
        """What a dialler says before its Open: nothing."""
        return None

    def dials_again(self) -> bool:
        """A link that is down is dialled again."""
        return True

    def admits_strangers(self) -> bool:
        """Whether anybody without a peer's certificate may open a stream: nobody."""
        return False

    # -- byte credit ------------------------------------------------------------------------------

    def first_credit(self, link: Link) -> int:
        """The credit of an invocation before anything was said."""
        return LIMITS["event_credit"].maximum

    def may_send(self, credit: int) -> bool:
        """A numbered event is sent while there is credit."""
        return credit > 0

    def credited(self, credit: int, more: int) -> int:
        """The credit after `more` was given."""
        return credit + max(0, more)

    def held_back(self, mine: int, others: Mapping[int, int]) -> bool:
        """Whether the credit of other orders (by seq) holds back events of this one: never."""
        return False

    def pong(self, ping: int) -> int:
        """A ping is answered by its own number."""
        return ping

    def closes(self, refusal: Refusal) -> bytes | None:
        """The last frame of a stream that is refused; None: nothing is said."""
        return lk.Frame(close=refusal.problem()).SerializeToString()

    def after_close(self) -> lk.Frame | None:
        """What is said after a close: nothing."""
        return None

    def refuses_void(self, reason: str) -> str | None:
        """The rule by which a void entry of the other side is refused; None: it is not."""
        return reason

    def stays(self, dialled_by_me: bool, me_smaller: bool, is_open: bool) -> bool:
        """Whether the current stream stays when a second authenticated Open comes."""
        return dialled_by_me and me_smaller and not is_open

    def largest_frame(self, opened: lk.Open) -> int:
        """Bytes of a frame that the other side takes."""
        return min(opened.limits.frame_bytes, LIMITS["frame_bytes"].maximum)

    def entry_limit(self) -> int:
        """Most entries of an own frame."""
        return LIMITS["frame_entries"].maximum
