"""A scripted peer: an honest link that does, beyond that, exactly what a check tells it.

peer = await stage.peer()                 # peered with the target
await peer.up()                           # dialled, opened, signed by both
seq = peer.write(entry); peer.flush()     # an entry, honest or not, in an honest frame
await peer.expect_close("LOG_FORK")       # the target's close, by name
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.grid.link import Phase
from intertie_conformance.grid.logs import Fact, Logs
from intertie_conformance.roles.suite_link import SuiteLink
from intertie_conformance.verdicts import Slip, fail
from intertie_conformance.wire import heads
from intertie_conformance.wire.digests import total_bytes
from intertie_conformance.wire.keys import Key

K = pb.EntryKind
TRIES: Final = 5


class Peer(SuiteLink):
    """One peering with the target, driven by a check."""

    async def up(self) -> Peer:
        """Dial and open; returns once the link is open, own entries are acknowledged, the target has advertised."""
        await self.begin()
        await self.wait(lambda: self.phase is Phase.OPEN, "an Open of the target, and both logs whole")
        await self.wait(lambda: self.epoch_ended, "an advertised catalog of the target")
        await self.wait(lambda: self.logs.account.acked[THEM] >= self.logs.seq(ME), "all own entries acknowledged")
        self.stage.saw("the link opened")
        return self

    async def expect_close(self, *reasons: str, seconds: float | None = None) -> str:
        """Wait for the target's close with one of these reasons, and for the end of the stream."""
        wanted = " or ".join(reasons)
        reason = await self.wait(lambda: self.closed, f"close {wanted}", seconds)
        if reason not in reasons:
            fail(f"close {wanted}", f"close {reason}: {self.close_message}")
        self.stage.saw(f"the target closed the stream with {reason}")
        await self.until_over(f"the end of the stream after close {reason}")
        return reason

    async def expect_signed(self, seq: int | None = None) -> None:
        """Wait until the target has acknowledged own entries up to `seq` (all)."""
        upto = self.logs.seq(ME) if seq is None else seq
        await self.wait(
            lambda: self.logs.account.acked[THEM] >= upto and self.confirmed,
            f"a signature of the target that acknowledges entry {upto}",
        )
        self.stage.saw(f"the target acknowledged entry {upto}")

    async def expect_no_trace(self, frame: lk.Frame | bytes, *reasons: str) -> None:
        """Send a frame that must be refused with one of `reasons`, then open honestly: everything is as before."""
        kept = self.logs.account.acked[THEM]
        self.raw(frame if isinstance(frame, bytes) else frame.SerializeToString())
        await self._expect_nothing_left(kept, *reasons)

    async def expect_no_trace_beyond(self, make: Callable[[int], lk.Frame], reason: str) -> None:
        """The same of a frame that is made of the seq after the target's last entry.

        The target may write that entry meanwhile, a tariff for one: then nothing was shown, and the frame is made anew.
        """
        for _ in range(TRIES):
            kept, beyond = self.logs.account.acked[THEM], self.logs.seq(THEM) + 1
            self.raw(make(beyond).SerializeToString())
            await self.wait(partial(self._judged, kept), f"close {reason}")
            if self.logs.seq(THEM) < beyond:
                return await self._expect_nothing_left(kept, reason)
            self.take_back(kept)
            await self.up()
        raise Slip(f"the target has written {TRIES} entries just as the next one was named")

    def _judged(self, kept: int) -> bool:
        """Whether the target has closed, or has taken an own entry after `kept`."""
        return bool(self.closed) or self.logs.account.acked[THEM] > kept

    async def _expect_nothing_left(self, kept: int, *reasons: str) -> None:
        """The target closes for what was sent, and has taken no own entry after `kept`."""
        await self.expect_close(*reasons)
        self.take_back(kept)
        await self.up()
        if self.logs.seq(ME) != kept:
            fail("nothing of the refused frame taken", f"{self.logs.seq(ME) - kept} entries of it")

    def take_back(self, seq: int) -> None:
        """Forget own entries above `seq`, which the target has not taken."""
        self.logs.cut(seq)
        self._unsent, self.spoiled = 0, False

    def take_back_last(self) -> bytes:
        """Forget the own entry that was written last and not sent; returns its bytes."""
        data = self.logs.entries[ME][-1]
        self.logs.cut(self.logs.seq(ME) - 1)
        self._unsent -= 1
        return data

    def forget(self) -> None:
        """Lose both logs, as a grid that was restored from nothing."""
        self.logs = Logs(self.genesis, self.terms, self.rules, (self.me.keys, self.peer_keys))
        self.was_open, self._unsent, self.inputs_sent = False, 0, {}

    async def expect_alive(self) -> None:
        """The link still serves: a ping is answered."""
        number = now_ms()
        self.lie(lk.Frame(ping=number))
        await self.wait(lambda: any(frame.pong == number for frame in self.frames), f"pong {number} on the living link")

    async def expect_entry(self, kind: int, look: Callable[[Fact], bool], what: str) -> Fact:
        """Wait for an entry of the target."""

        def found() -> Fact | None:
            return next((fact for fact in self.facts if fact.entry.kind == kind and look(fact)), None)

        fact = await self.wait(found, what)
        assert fact is not None
        self.stage.saw(f"the target wrote entry {fact.seq}: {what}")
        return fact

    async def expect_refused(self, seq: int, rule: str) -> None:
        """Wait until the target refuses own entry `seq` by `rule`."""
        fact = await self.expect_entry(
            K.ENTRY_KIND_REFUSE, lambda f: f.entry.refuse.entry_seq == seq, f"a refuse of entry {seq} with {rule}"
        )
        if fact.entry.refuse.rule != rule:
            fail(f"a refuse of entry {seq} with {rule}", f"a refuse with {fact.entry.refuse.rule}")

    # -- lying ------------------------------------------------------------------------------------

    def frame(self, *, total: int | None = None, key: Key | None = None, **changes: Any) -> lk.Frame:
        """A frame of everything written and not sent, its signature honest but for the changes; a lie is signed."""
        made = lk.Frame()
        self._entries(made)
        signature = made.signature
        for name, value in changes.items():
            setattr(signature, name, value)
        if total is not None:
            signature.agreed_total = total_bytes(total)
        if total is not None or key is not None or changes:
            heads.sign(self.genesis, signature, key or self.me.key)
            self.spoiled = True
        return made

    def put(self, kind: int, *, seen: int | None = None, at: int | None = None, input: bytes = b"", **body: Any) -> int:
        """Write an entry of any kind, with any `seen` and `at`, an order with its input; returns its seq.

        It goes out with the next frame.
        """
        entry = pb.Entry(kind=kind, **body)  # type: ignore[arg-type]
        entry.seen = max(self.logs.seen[ME], self.logs.seq(THEM)) if seen is None else seen
        entry.at = max(now_ms(), self.logs.at[ME]) if at is None else at
        return self.put_bytes(entry.SerializeToString(), input)

    def put_bytes(self, data: bytes, input: bytes = b"") -> int:
        """Write exact bytes as an entry, an order with its input."""
        self._unsent += 1
        seq = self.logs.push(ME, data).seq
        if input:
            self.inputs_sent[seq] = input
            self._inputs.append((seq, input))
        return seq
