"""What a link is about to say: gathered over a batch, then put into signed frames (design §7)."""

from intertie.registry import LIMITS
from intertie.v1 import link_pb2 as lk
from intertie.v1.catalog_pb2 import Advertisement
from intertie.v1.event_pb2 import Event

MAX_FRAME_ENTRIES = LIMITS["frame_entries"].maximum
MAX_EVENT_BYTES = LIMITS["event_bytes"].maximum
INLINE_BYTES = LIMITS["inline_bytes"].minimum
"""Payload that every grid takes, whatever it declares."""
OVERHEAD = 512
"""Bytes of a frame kept free for its signature and counters."""
ITEM_OVERHEAD = 16


def event_size(event: Event) -> int:
    """Bytes of an event, `order_seq` left out: what limits and byte credit count, the same on every link."""
    seq = event.order_seq
    return event.ByteSize() - (1 + -(-seq.bit_length() // 7) if seq else 0)


class Outbox:
    """Words of one link that are not in a frame yet."""

    __slots__ = ("advertisements", "entries", "events", "first_seq", "inputs", "ping", "pong", "sign", "size")

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.inputs: list[tuple[int, bytes]] = []
        self.first_seq = 0
        self.size = 0
        """Bytes of `entries` and `inputs`."""
        self.sign = False
        """True when an acknowledgement is owed."""
        self.events: list[Event] = []
        self.advertisements: list[Advertisement] = []
        self.ping = 0
        self.pong = 0

    def entry(self, seq: int, data: bytes) -> None:
        """Add the entry that was just appended to the own log."""
        if not self.entries:
            self.first_seq = seq
        self.entries.append(data)
        self.size += len(data) + ITEM_OVERHEAD

    def input(self, seq: int, data: bytes) -> None:
        """Add the input of the order just added."""
        self.inputs.append((seq, data))
        self.size += len(data) + ITEM_OVERHEAD

    def entry_frame(self, signature: lk.HeadSignature) -> lk.Frame:
        """The frame of the gathered entries, ended by `signature`; empties that part."""
        frame = lk.Frame(first_seq=self.first_seq, entries=self.entries, signature=signature)
        for seq, data in self.inputs:
            frame.inputs.add(order_seq=seq, data=data)
        self.entries, self.inputs, self.size, self.sign = [], [], 0, False
        return frame

    def rest(self, frame: lk.Frame | None, limit: int) -> list[lk.Frame]:
        """Put events, advertisements and pings into `frame` and as many more as they need."""
        if not (self.events or self.advertisements or self.ping or self.pong):
            return [frame] if frame else []
        frame = frame or lk.Frame()
        frames = [frame]
        frame.ping, frame.pong = self.ping, self.pong
        room = limit - OVERHEAD - frame.ByteSize()
        for name, items in (("advertisements", self.advertisements), ("events", self.events)):
            target = getattr(frame, name)
            for item in items:
                room -= item.ByteSize() + ITEM_OVERHEAD
                if room < 0:
                    frame = lk.Frame()
                    frames.append(frame)
                    target, room = getattr(frame, name), limit - OVERHEAD - item.ByteSize()
                target.append(item)
        self.events, self.advertisements, self.ping, self.pong = [], [], 0, 0
        return frames
