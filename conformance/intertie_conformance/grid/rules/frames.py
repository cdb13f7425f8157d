"""What a grid checks in frames on an open link, before anything of them is taken (RFC 0005, RFC 0007)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.event_pb2 import Event
from intertie_conformance.grid.account import ME
from intertie_conformance.registry import LIMITS
from intertie_conformance.wire import digests, heads
from intertie_conformance.wire.build import size_of
from intertie_conformance.wire.refusal import Refusal, decode

if TYPE_CHECKING:
    from intertie_conformance.grid.link import Link
    from intertie_conformance.grid.logs import Logs

MAX_EVENT_BYTES: Final = LIMITS["event_bytes"].maximum


class FrameRules:
    """Checks of frames, signatures and entries as such."""

    def frame_size(self, data: bytes) -> None:
        """A frame is at most as large as declared."""
        if len(data) > LIMITS["frame_bytes"].default:
            raise Refusal("FRAME_TOO_LARGE", f"A frame has {len(data)} bytes.")

    def frame_payload(self, data: bytes) -> lk.Frame:
        """It is a Frame."""
        return decode(lk.Frame, data, "FRAME_MALFORMED")

    def frame_entries(self, frame: lk.Frame) -> None:
        """It holds at most so many entries."""
        if len(frame.entries) + len(frame.returned) > LIMITS["frame_entries"].maximum:
            raise Refusal("FRAME_TOO_LARGE", "A frame holds too many entries.")

    def frame_signed(self, frame: lk.Frame) -> None:
        """Entries come with a signature."""
        if frame.entries and not frame.HasField("signature"):
            raise Refusal("SIGNATURE_INVALID", "A frame with entries has no signature.")

    def frame_returned_signed(self, frame: lk.Frame) -> None:
        """Returned entries come with the signature that ended them."""
        if frame.returned and not frame.HasField("returned_signature"):
            raise Refusal("SIGNATURE_INVALID", "A frame with returned entries has no signature.")

    def frame_one_log(self, frame: lk.Frame) -> None:
        """It speaks of one log."""
        if frame.HasField("returned_signature") and frame.HasField("signature"):
            raise Refusal("FRAME_MALFORMED", "A frame holds own entries and returned ones.")

    def event_size(self, event: Event) -> None:
        """An event is one that every link takes."""
        if size_of(event) > MAX_EVENT_BYTES:
            raise Refusal("PAYLOAD_TOO_LARGE", f"An event has {size_of(event)} bytes.")

    # -- signatures -------------------------------------------------------------------------------

    def follows(self, logs: Logs, author: int, first_seq: int) -> None:
        """Entries follow those held."""
        if not 1 <= first_seq <= logs.seq(author) + 1:
            raise Refusal("LOG_GAP", f"Entries from seq {first_seq} do not follow seq {logs.seq(author)}.")

    def signed_seq(self, logs: Logs, author: int, seq: int, signature: lk.HeadSignature) -> None:
        """The signature speaks of the author's last entry."""
        if signature.seq != seq:
            raise Refusal("SIGNATURE_INVALID", f"A signature speaks of seq {signature.seq}, not {seq}.")

    def signed_acked(self, logs: Logs, author: int, signature: lk.HeadSignature) -> None:
        """It acknowledges what exists, and no less than the one before it."""
        if not logs.account.acked[author] <= signature.acked <= logs.seq(1 - author):
            raise Refusal("SIGNATURE_INVALID", f"A signature acknowledges {signature.acked}.")

    def signed_head(self, head: bytes, signature: lk.HeadSignature) -> None:
        """Its head is that of the author's log."""
        if signature.head != head:
            raise Refusal("LOG_FORK", "The signed head is not that of the entries.")

    def signed_acked_head(self, logs: Logs, author: int, signature: lk.HeadSignature) -> None:
        """Its acknowledged head is that of the other log."""
        known = logs.heads[1 - author]
        if signature.acked < len(known) and signature.acked_head != known[signature.acked]:
            raise Refusal("LOG_FORK", "The acknowledged head is not the one held here.")

    def signed_key(self, logs: Logs, author: int, signature: lk.HeadSignature) -> None:
        """A known key of the author has made it."""
        if not heads.is_signed(logs.genesis, signature, logs.keys[author]):
            raise Refusal("SIGNATURE_INVALID", "No known key of the signer has made this signature.")

    def signed_session(self, link: Link, signature: lk.HeadSignature) -> None:
        """After the first signature of this session all are of it."""
        if signature.session == link.session:
            self.session_key(link, signature)
            link.confirmed = True
        elif link.confirmed:
            raise Refusal("SIGNATURE_INVALID", "A signature belongs to another session.")

    def signed_whole(self, link: Link, signature: lk.HeadSignature) -> None:
        """Who signs in this session has returned what it holds of the own log."""
        waits = link.phase.value == "catching up" and link.logs.seq(ME) < link.targets[0]
        if waits and signature.session == link.session:
            raise Refusal("CURSOR_AHEAD", f"{link.targets[0]} entries of this log were promised and not returned.")

    def returned_own(self, link: Link, signature: lk.HeadSignature) -> None:
        """A returned signature is this grid's own."""
        if not heads.is_signed(link.genesis, signature, link.me.keys):
            raise Refusal("SIGNATURE_INVALID", "The returned signature is not this grid's.")

    def session_key(self, link: Link, signature: lk.HeadSignature) -> None:
        """A signature of this session is by a key that could sign its Open."""
        known = link.signers(link.peer)
        if not any(made.key_id in known for made in signature.signatures):
            raise Refusal("SIGNATURE_INVALID", "A signature of this session is by no key of the newest descriptor.")

    def signed_seen(self, logs: Logs, author: int, signature: lk.HeadSignature) -> None:
        """It acknowledges at least what the author's entries have seen."""
        if signature.acked < logs.seen[author]:
            raise Refusal("SIGNATURE_INVALID", "A signature acknowledges less than an entry has seen.")

    def signed_total(self, logs: Logs, author: int, signature: lk.HeadSignature) -> None:
        """The stated total is what the logs say at the signer's own pair."""
        total = logs.account.agreed(author, signature.acked)
        stated = digests.total_of(signature.agreed_total)
        if stated != total:
            raise Refusal("TOTAL_MISMATCH", f"The signed total is {stated}, the logs say {total}.")

    def undoes(self) -> bool:
        """A group that fails a check leaves no trace."""
        return True

    # -- entries ----------------------------------------------------------------------------------

    def entry_payload(self, data: bytes) -> pb.Entry:
        """An entry decodes and is not too large."""
        if len(data) > LIMITS["entry_bytes"].maximum:
            raise Refusal("ENTRY_MALFORMED", f"An entry has {len(data)} bytes.")
        return decode(pb.Entry, data, "ENTRY_MALFORMED")

    def entry_seen(self, logs: Logs, author: int, entry: pb.Entry) -> None:
        """`seen` neither falls nor lies beyond the other log."""
        if not logs.seen[author] <= entry.seen <= logs.seq(1 - author):
            raise Refusal("SEEN_INVALID", f"An entry has seen {entry.seen}.")

    def entry_at(self, logs: Logs, author: int, entry: pb.Entry) -> None:
        """`at` does not fall."""
        if entry.at < logs.at[author]:
            raise Refusal("AT_DECREASED", "An entry has an earlier clock than the one before it.")

    def entry_clock(self, entry: pb.Entry, latest: int) -> None:
        """`at` leads the receiver's clock by at most max_skew."""
        if entry.at > latest:
            raise Refusal("CLOCK", "An entry's clock leads by more than the agreed skew.")

    def check_frame(self, frame: lk.Frame) -> None:
        """All that can be said of a frame alone. Raises: Refusal."""
        for event in frame.events:
            self.event_size(event)
        self.frame_entries(frame)
        self.frame_signed(frame)
        self.frame_returned_signed(frame)
        self.frame_one_log(frame)

    def check_signature(self, logs: Logs, author: int, new_heads: Sequence[bytes], signature: lk.HeadSignature) -> None:
        """All that is said of a signature before its entries are applied. Raises: Refusal."""
        seq = logs.seq(author) + len(new_heads)
        self.signed_seq(logs, author, seq, signature)
        self.signed_acked(logs, author, signature)
        self.signed_head(new_heads[-1] if new_heads else logs.heads[author][-1], signature)
        self.signed_acked_head(logs, author, signature)
        self.signed_key(logs, author, signature)
