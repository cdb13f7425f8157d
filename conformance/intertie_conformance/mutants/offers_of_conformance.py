"""Targets that break RFC 0014, section 3.3: what the conformance offers do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from intertie.v1.catalog_pb2 import Offer
from intertie.v1.envelope_pb2 import Payload
from intertie_conformance.grid.rules import Rules
from intertie_conformance.grid.rules.working import as_json
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-CNF-010", also=("IT-VER-013",))
class MoreFeatures(Rules):
    """States a feature that meter does not have."""

    def own_offer(self, offer: Offer) -> Offer:
        if offer.name == "conformance/meter":
            offer.features.append("cancelable")
        return offer


@mutant("IT-CNF-010")
class IntegersAsWritten(Rules):
    """Does not take 1.0 for an integer."""

    def check_input(self, schema: bytes, data: bytes) -> Any:
        value = super().check_input(schema, data)
        if isinstance(value, dict) and any(isinstance(item, float) for item in value.values()):
            raise Refusal("INPUT_INVALID", "No integer.", path="$", rule="type")
        return value


@mutant("IT-CNF-011")
class EchoesJson(Rules):
    """Echoes everything as JSON."""

    def echoes(self, media_type: str, data: bytes) -> Payload:
        return Payload(media_type="application/json", data=data)


@mutant("IT-CNF-012")
class NoDelay(Rules):
    """Does not wait."""

    def delays(self, ms: int) -> float:
        return ms / 100_000


@mutant("IT-CNF-012", also=("IT-CNF-016",))
class DoesNotStop(Rules):
    """Works on when it is canceled."""

    def stops(self, name: str, cancelable: bool) -> bool:
        return False


@mutant("IT-CNF-012")
class DelayedInSeconds(Rules):
    """Says how long in seconds."""

    def delayed(self, ms: int) -> Payload:
        return as_json({"ms": ms / 1_000})


@mutant("IT-CNF-013")
class AllAtOnce(Rules):
    """Meters everything in the last step."""

    def meters(self, usage: Mapping[str, int], steps: int) -> Iterator[tuple[str, int]]:
        yield from ((unit, usage[unit]) for unit in sorted(usage) if usage[unit])


@mutant("IT-CNF-014")
class UsageWithoutZeros(Rules):
    """Returns what was used."""

    def metered(self, usage: Mapping[str, int]) -> Payload:
        return as_json({"usage": {unit: quantity for unit, quantity in usage.items() if quantity}})


@mutant("IT-CNF-015")
class EachFromA(Rules):
    """Begins every chunk with the letter a."""

    def streams(self, number: int, size: int) -> bytes:
        return super().streams(0, size)


@mutant("IT-CNF-016")
class PausesFirst(Rules):
    """Waits before the first chunk too."""

    def stream_pause(self, number: int, delay_ms: int) -> float:
        return delay_ms / 1_000


@mutant("IT-CNF-016")
class StreamsTwice(Rules):
    """Adds an output to what it has streamed."""

    def streamed(self) -> Payload:
        return as_json({"done": True})


@mutant("IT-CNF-017")
class OtherPrompt(Rules):
    """Asks by a prompt of its own."""

    def asks(self, prompt: str) -> tuple[str, bytes]:
        return f"Please: {prompt}", b'{"type":"object"}'


@mutant("IT-CNF-017")
class AsksForAnything(Rules):
    """Asks without a schema."""

    def asks(self, prompt: str) -> tuple[str, bytes]:
        return prompt, b"{}"


@mutant("IT-CNF-018")
class TakesAnyReply(Rules):
    """Takes replies that are no objects."""

    def answered_ask(self, reply: bytes) -> Payload:
        return Payload(media_type="application/json", data=reply)


@mutant("IT-CNF-019")
class NoSteps(Rules):
    """Fails at once."""

    def failing_steps(self, steps: int) -> int:
        return min(steps, 1)


@mutant("IT-CNF-020")
class OwnMessage(Rules):
    """Fails with a message of its own."""

    def failure(self, message: str) -> Refusal:
        return Refusal("EXECUTION_FAILED", "It failed.")


@mutant("IT-CNF-020")
class ToolErrorWithoutMessage(Rules):
    """Leaves the message out of a tool's error."""

    def tool_error(self, message: str) -> Payload:
        return as_json({})


@mutant("IT-CNF-021")
class RefusesOtherwise(Rules):
    """Refuses with another reason."""

    def refusal(self, message: str) -> Refusal:
        return Refusal("POLICY_VIOLATION", message)


@mutant("IT-CNF-022")
class OwnPrices(Rules):
    """Sells meter at a price of its own."""

    def own_offer(self, offer: Offer) -> Offer:
        if offer.name == "conformance/meter":
            offer.prices[3].num += 1
        return offer


@mutant("IT-CNF-023", also=("IT-MTR-030", "IT-MTR-033"))
class NoIntensity(Rules):
    """States no energy of a step."""

    def own_offer(self, offer: Offer) -> Offer:
        made = super().own_offer(offer)
        del made.energy[:]
        return made
