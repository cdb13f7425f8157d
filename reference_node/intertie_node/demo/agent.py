"""The agent on north: one task of several steps, done through the public client and its own grid alone."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct, field

from intertie.amounts import charge, format_amount
from intertie.client import CallResult, Chunk, Client, Ended, InvocationError, StateChanged, new_id
from intertie.digests import salted
from intertie.errors import IntertieError
from intertie.v1.catalog_pb2 import ListedOffer
from intertie.v1.record_pb2 import ExecutionRecord

QUESTION: Final = "What does a signature on a link say?"
ANSWER_BYTES: Final = 24_000
CHUNK_BYTES: Final = 300
CHUNK_PAUSE_MS: Final = 40
BREAK_AFTER: Final = 20
"""Chunks of the long answer after which the link is broken."""
CANCEL_AFTER: Final = 5
"""Chunks of the second answer after which the agent has enough."""
TOO_LONG: Final = 1_000_000
"""Bytes of an answer that the budget does not cover."""


class Audience(Protocol):
    """Who is told what happens."""

    def status(self, text: str) -> None:
        """What is being done now."""
        ...

    def told(self, title: str, text: str) -> None:
        """A step is done."""
        ...


class Invoked(Struct, frozen=True):
    """One invocation that has ended, and what it was for."""

    offer: str
    result: CallResult


class Refused(Struct, frozen=True):
    """One invocation that north refused."""

    offer: str
    max_charge: int
    reason: str
    message: str
    metadata: Mapping[str, str]


class Streamed(Struct):
    """How the long answer came."""

    id: str = ""
    text: bytes = b""
    chunks: int = 0
    numbers: list[int] = []
    """Numbers of the durable events as they came, from 1 without a gap."""
    chunks_before: int = 0
    """Chunks that had come when the link was broken."""
    chunks_after: int = 0
    """Chunks that came after the longest pause."""
    silence_ms: int = 0
    """Longest pause between two chunks."""
    broken: str = ""
    """How the link was broken; "" if it was not."""
    signed: bool = False
    """Whether the text is the one whose digest stands in the executor's signed record."""

    @property
    def is_gapless(self) -> bool:
        """Whether every durable event came once and in order."""
        return self.numbers == list(range(1, len(self.numbers) + 1))


class Work(Struct):
    """Everything that the agent did."""

    invoked: list[Invoked] = []
    refused: list[Refused] = []
    streamed: Streamed = field(default_factory=Streamed)
    budget: int = 0
    spent: int = 0
    reserved: int = 0
    asset: str = ""
    scale: int = 0


class Agent:
    """Does the task. `break_link` breaks the link in the middle and returns when it is whole again."""

    def __init__(self, client: Client, audience: Audience, break_link: Callable[[], Coroutine[Any, Any, str]]) -> None:
        self._client = client
        self._audience = audience
        self._break_link = break_link
        self.work = Work()

    async def run(self) -> Work:
        """Do everything, in order. Raises: IntertieError where a step does not end as it must."""
        offers = await self._search()
        newest = await self._read_history(offers["git"])
        await self._ask_time(offers["time"], newest)
        topic = await self._ask_library(offers["documents"])
        await self._read_long_answer(offers["text"], topic)
        await self._cancel_one(offers["text"], topic)
        await self._be_refused(offers["text"], topic)
        account = await self._client.account()
        self.work.budget, self.work.spent, self.work.reserved = account.budget, account.spent, account.reserved
        self.work.asset, self.work.scale = account.asset, account.scale
        return self.work

    # -- steps ------------------------------------------------------------------------------------

    async def _search(self) -> dict[str, ListedOffer]:
        """The best offer for each of the agent's needs, by the words that it searched for."""
        self._audience.status("searching offers")
        needs = ("git history", "time", "documents", "text")
        found, lines, sellers = {}, [], []
        for need in needs:
            offers = [offer async for offer in self._client.search(need)]
            if not offers or not offers[0].prices:
                raise IntertieError("OFFER_UNKNOWN", f"No offer that can be reached was found for {need!r}.")
            best = found[need.partition(" ")[0]] = offers[0]
            lines.append(f"“{need}” → {best.ref}\n    {_price_list(best)}")
            sellers += [f"Sold by {name}, prices in {best.offer.asset}." for name in best.path[1:2]]
        self._audience.told("Search offers", "\n".join([*lines, *dict.fromkeys(sellers)]))
        return found

    async def _read_history(self, offer: ListedOffer) -> dt.datetime:
        self._audience.status("reading the git history through MCP")
        result = await self._call(offer, {"max_count": 3}, {"mcp.call": 1})
        commits = _commits(_mcp_text(result))
        lines = [f"{commit[:7]} {subject}" for commit, _, subject in commits]
        self._audience.told("Read the git history", "\n".join(lines))
        return commits[0][1]

    async def _ask_time(self, offer: ListedOffer, newest: dt.datetime) -> None:
        self._audience.status("asking for the time through MCP")
        result = await self._call(offer, {"timezone": "UTC"}, {"mcp.call": 1})
        now = dt.datetime.fromisoformat(msgspec.json.decode(_mcp_text(result))["datetime"])
        minutes = int((now - newest).total_seconds()) // 60
        age = f"{minutes // 1440} days" if minutes >= 2880 else f"{minutes // 60} h {minutes % 60} min"
        self._audience.told("Ask for the time", f"{now:%Y-%m-%d %H:%M} UTC, so the newest commit is {age} old")

    async def _ask_library(self, offer: ListedOffer) -> str:
        self._audience.status("asking the library a question")
        result = await self._call(offer, {"query": QUESTION}, {"rag.query": 1})
        passages = result.json()["passages"]
        if not passages:
            raise IntertieError("EXECUTION_FAILED", f"{offer.ref} found nothing for {QUESTION!r}.")
        best = passages[0]
        text = " ".join(best["text"].split())
        short = text if len(text) <= 240 else f"{text[:240].rpartition(' ')[0]} …"
        self._audience.told("Ask a question", f"“{QUESTION}”\n“{short}” ({best['path']})")
        return str(best["heading"])

    async def _read_long_answer(self, offer: ListedOffer, topic: str) -> None:
        """Stream an answer while the grid in the middle is killed and comes back."""
        self._audience.status("streaming a long answer")
        streamed, loop = self.work.streamed, asyncio.get_running_loop()
        most = afford(offer, {"text.output.byte": ANSWER_BYTES, "order": 1})
        wanted = _essay(topic, ANSWER_BYTES)
        pieces: list[bytes] = []
        breaking: asyncio.Task[str] | None = None
        last = loop.time()
        try:
            async for item in self._client.invoke(offer, wanted, max_charge=most, first_grant=most // 3):
                if isinstance(item, StateChanged | Chunk):
                    streamed.numbers.append(item.number)
                if isinstance(item, Chunk):
                    pieces.append(item.data)
                    pause, last = int(1000 * (loop.time() - last)), loop.time()
                    streamed.chunks_after += 1
                    if pause > streamed.silence_ms:
                        streamed.silence_ms, streamed.chunks_after = pause, 1
                    if len(pieces) == BREAK_AFTER:
                        streamed.chunks_before = len(pieces)
                        breaking = asyncio.create_task(self._break_link())
                elif isinstance(item, Ended):
                    result = self._note(offer, item.result, "COMPLETED")
                    streamed.id = result.id
                    streamed.text, streamed.chunks = b"".join(pieces) + result.output, len(pieces)
                    streamed.signed = is_signed(result, streamed.text)
            streamed.broken = await breaking if breaking is not None else ""
        finally:
            if breaking is not None:
                breaking.cancel()
        self._audience.told(
            "Stream a long answer",
            f"About “{topic}”: {len(streamed.text):,} bytes in {streamed.chunks} chunks.\n"
            f"After chunk {streamed.chunks_before} the link was broken on purpose: {streamed.broken}\n"
            f"The stream was silent for {streamed.silence_ms / 1000:.1f} s, then went on with chunk "
            f"{streamed.chunks - streamed.chunks_after + 1}: none lost, none twice.",
        )

    async def _cancel_one(self, offer: ListedOffer, topic: str) -> None:
        self._audience.status("streaming another, to stop it early")
        most, id, chunks = afford(offer, {"text.output.byte": ANSWER_BYTES, "order": 1}), new_id(), 0
        wanted = {**_essay(topic, ANSWER_BYTES), "delay_ms": 200}
        async for item in self._client.invoke(offer, wanted, id=id, max_charge=most):
            if isinstance(item, Chunk):
                chunks += 1
                if chunks == CANCEL_AFTER:
                    await self._client.cancel(id, "The first page was enough.")
            elif isinstance(item, Ended):
                result = self._note(offer, item.result, "CANCELED")
                cost = format_amount(result.charge, result.scale)
                text = f"Another one, stopped after {chunks} chunks: {cost} {result.asset} of at most "
                self._audience.told("Cancel an invocation", text + format_amount(most, result.scale))

    async def _be_refused(self, offer: ListedOffer, topic: str) -> None:
        self._audience.status("asking for more than the budget")
        most = afford(offer, {"text.output.byte": TOO_LONG, "order": 1})
        try:
            result = await self._client.call(offer, _essay(topic, TOO_LONG), max_charge=most, check=False)
        except InvocationError as error:
            refused = Refused(offer.ref, most, error.reason, error.message, dict(error.metadata))
            self.work.refused.append(refused)
            could = format_amount(most, offer.offer.scale)
            left = int(error.metadata.get("available", -1))
            rest = f", {format_amount(left, offer.offer.scale)} is left" if left >= 0 else ""
            self._audience.told(
                "Exceed the budget",
                f"{TOO_LONG:,} bytes could cost {could} {offer.offer.asset}{rest}: refused, {error.reason}",
            )
        else:
            self.work.invoked.append(Invoked(offer.ref, result))

    # -- calling ----------------------------------------------------------------------------------

    async def _call(self, offer: ListedOffer, input: Mapping[str, Any], usage: Mapping[str, int]) -> CallResult:
        most = afford(offer, {**usage, "order": 1})
        async with self._client.stream() as stream:
            return self._note(offer, await stream.call(offer, input, max_charge=most), "COMPLETED")

    def _note(self, offer: ListedOffer, result: CallResult, state: str) -> CallResult:
        self.work.invoked.append(Invoked(offer.ref, result))
        if result.state != state or result.is_error:
            why = result.problem.message if result.problem else result.text[:200]
            raise IntertieError("EXECUTION_FAILED", f"{offer.ref} ended {result.state}, not {state}: {why}")
        return result


def afford(offer: ListedOffer, usage: Mapping[str, int]) -> int:
    """A maximum charge in minor units that `usage` fits with a tenth to spare, by the offer's listed prices."""
    prices = [(line.num, line.den) for line in offer.prices]
    cost: int = charge(prices, [usage.get(line.unit, 0) for line in offer.prices])
    return cost + cost // 10 + len(prices) + 1


def is_signed(result: CallResult, output: bytes) -> bool:
    """Whether `output` is the one whose salted digest stands in the executor's record."""
    if result.proof is None:
        return False
    record = ExecutionRecord.FromString(result.proof.record)
    return bool(record.output_digest) and record.output_digest == salted(record.nonce, output)


def _essay(topic: str, length: int) -> dict[str, Any]:
    return {"topic": topic[:200], "length": length, "chunk_bytes": CHUNK_BYTES, "delay_ms": CHUNK_PAUSE_MS}


def _price_list(offer: ListedOffer) -> str:
    """Prices an atom in the asset, but those of orders that do not complete."""
    lines = []
    for line in offer.prices:
        if line.num and not line.unit.startswith("order."):
            price = f"{line.num / line.den / 10**offer.offer.scale:.9f}".rstrip("0").rstrip(".")
            lines.append(f"{price} per {line.unit}")
    return " + ".join(lines)


def _mcp_text(result: CallResult) -> str:
    """The text that an MCP tool gave back."""
    return "\n".join(str(block.get("text", "")) for block in result.json()["content"])


def _commits(text: str) -> list[tuple[str, dt.datetime, str]]:
    """(hash, date, subject) of each commit that mcp-server-git lists, newest first."""
    pattern = r"Commit: '?([0-9a-f]{40})'?\n.*?Date: ([^\n]+)\nMessage: '?([^\n]*)"
    found = re.findall(pattern, text, re.DOTALL)
    if not found:
        raise IntertieError("EXECUTION_FAILED", f"The git history holds no commit: {text[:200]!r}")
    return [(commit, dt.datetime.fromisoformat(date.strip()), subject) for commit, date, subject in found]
