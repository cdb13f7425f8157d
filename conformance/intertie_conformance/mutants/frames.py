"""Grids that break RFC 0005, sections 3.6 and 3.8 to 3.10: frames, pings, closing."""

from __future__ import annotations

from intertie.v1 import link_pb2 as lk
from intertie.v1.event_pb2 import Event
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-LNK-070", also=("IT-LNK-075",))
class UnsignedEntries(Rules):
    """Leaves the signature out of frames with entries."""

    def own_frame(self, frame: lk.Frame) -> lk.Frame:
        if frame.entries:
            frame.ClearField("signature")
        return frame


@mutant("IT-LNK-071")
class BothSignatures(Rules):
    """Puts the returned signature into the frames of its own entries."""

    def own_frame(self, frame: lk.Frame) -> lk.Frame:
        if frame.entries:
            frame.returned_signature.CopyFrom(frame.signature)
        return frame


@mutant("IT-LNK-072")
class LargeFrames(Rules):
    """Sends frames of more than 256 KiB."""

    def own_frame(self, frame: lk.Frame) -> lk.Frame:
        if frame.pong:
            frame.close.message = "x" * 300_000
        return frame


@mutant("IT-LNK-073")
class ManyEntries(Rules):
    """Sends more entries than a frame may hold."""

    def own_frame(self, frame: lk.Frame) -> lk.Frame:
        if frame.pong:
            frame.returned.extend([b""] * 5_000)
        return frame


@mutant("IT-LNK-014")
class OpenWithPing(Rules):
    """Says more in the frame of its Open."""

    def own_frame(self, frame: lk.Frame) -> lk.Frame:
        if frame.open:
            frame.ping = 5
        return frame


@mutant("IT-LNK-075")
class NeverAcknowledges(Rules):
    """Does not sign for entries that it takes."""

    def acknowledges(self, frame: lk.Frame, fresh: int) -> bool:
        return False


@mutant("IT-LNK-076")
class AnswersSignatures(Rules):
    """Answers a signature by a signature."""

    def acknowledges(self, frame: lk.Frame, fresh: int) -> bool:
        return frame.HasField("signature")


@mutant("IT-LNK-077")
class EventsLast(Rules):
    """Looks at the size of events after everything else."""

    def check_frame(self, frame: lk.Frame) -> None:
        self.frame_entries(frame)
        self.frame_signed(frame)
        self.frame_returned_signed(frame)
        self.frame_one_log(frame)
        for event in frame.events:
            self.event_size(event)


@mutant("IT-LNK-078")
class KeepsHalf(Rules):
    """Keeps the entries before the one that is malformed."""

    def undoes(self) -> bool:
        return False


@mutant("IT-LNK-079", also=("IT-LNK-122", "IT-LNK-020"))
class AnySize(Rules):
    """Takes frames of any size."""

    def frame_size(self, data: bytes) -> None:
        return


@mutant("IT-LNK-080", also=("IT-LNK-077",))
class AnyNumber(Rules):
    """Takes any number of entries in a frame."""

    def frame_entries(self, frame: lk.Frame) -> None:
        return


@mutant("IT-LNK-081")
class BothLogs(Rules):
    """Takes a frame that speaks of both logs."""

    def frame_one_log(self, frame: lk.Frame) -> None:
        return


@mutant("IT-LNK-081", also=("IT-LNK-130", "IT-LNK-132"))
class Undecodable(Rules):
    """Takes bytes that are no frame for an empty one."""

    def frame_payload(self, data: bytes) -> lk.Frame:
        try:
            return super().frame_payload(data)
        except Refusal:
            return lk.Frame()


@mutant("IT-LNK-082", also=("IT-LNK-077",))
class TakesUnsigned(Rules):
    """Takes entries without a signature for nothing said."""

    def frame_signed(self, frame: lk.Frame) -> None:
        return


@mutant("IT-LNK-083", also=("IT-LNK-021",))
class IgnoresEarlyFrames(Rules):
    """Ignores frames that come before the Opens."""

    def first_frame(self, frame: lk.Frame) -> None:
        if not frame.open:
            raise Refusal("UNKNOWN_GENESIS", "No link is named.")


@mutant("IT-LNK-084", also=("IT-LNK-077",))
class AnyEvent(Rules):
    """Takes events of any size."""

    def event_size(self, event: Event) -> None:
        return


@mutant("IT-LNK-085")
class EventsFirst(Rules):
    """Looks at the events of a frame before its entries."""

    def events_first(self) -> bool:
        return True


@mutant("IT-LNK-086")
class FearsInputs(Rules):
    """Closes the link for an input of no order."""

    def stray_input(self, seq: int) -> None:
        raise Refusal("FRAME_MALFORMED", "An input belongs to no order.")


@mutant("IT-LNK-116")
class WrongPong(Rules):
    """Answers each ping by the next number."""

    def pong(self, ping: int) -> int:
        return ping % 2**32 + 1


@mutant("IT-LNK-122", also=("IT-LNK-020", "IT-LNK-079"))
class CutsLargeFrames(Rules):
    """Closes with another name when a frame is very large."""

    def frame_size(self, data: bytes) -> None:
        if len(data) > 1 << 20:
            raise Refusal("FRAME_MALFORMED", "This is too much.")
        super().frame_size(data)


@mutant("IT-LNK-130")
class LastWord(Rules):
    """Says something after its close."""

    def after_close(self) -> lk.Frame | None:
        return lk.Frame(ping=4)


@mutant("IT-LNK-131")
class IgnoresClose(Rules):
    """Goes on after a close of the peer."""

    def ends(self, frame: lk.Frame) -> bool:
        return False


@mutant("IT-LNK-110")
class WritesFirst(Rules):
    """Does not read while it has something to write."""

    def reads_while_writing(self) -> bool:
        return False


@mutant("IT-LNK-117")
class NeverGivesUp(Rules):
    """Keeps a dead link."""

    def dead_after_s(self) -> float:
        return 3_600.0


@mutant("IT-LNK-134", also=("IT-LNK-130",))
class HearsOn(Rules):
    """Goes on with a stream that it has closed."""

    def deaf(self) -> bool:
        return False


@mutant("IT-LNK-132")
class ClosesAll(Rules):
    """Closes all links for the fault of one."""

    def closes_with(self, link: Link, links: list[Link]) -> list[Link]:
        return links


@mutant("IT-LNK-133")
class NeverForgives(Rules):
    """Does not open a link again that was closed for a fork."""

    def forgives(self, reason: str) -> bool:
        return reason != "LOG_FORK"


@mutant("IT-LNK-075")
class AcknowledgesNews(Rules):
    """Does not sign for entries that it has taken before."""

    def acknowledges(self, frame: lk.Frame, fresh: int) -> bool:
        return fresh > 0


@mutant("IT-LNK-077")
class WaitsForWhatNeverComes(Rules):
    """Takes signatures of who has not returned what its Open says that it holds."""

    def signed_whole(self, link: Link, signature: lk.HeadSignature) -> None:
        return
