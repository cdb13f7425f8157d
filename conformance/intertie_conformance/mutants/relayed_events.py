"""Grids that break RFC 0009, sections 3.8 to 3.10, as relays: events that they pass on."""

from __future__ import annotations

from intertie.v1.event_pb2 import Event
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant


@mutant("IT-INV-057")
class OwnTime(Rules):
    """Puts its own time into events that it passes on."""

    def passed_event(self, event: Event) -> Event:
        event.at = now_ms()
        return event


@mutant("IT-INV-077")
class LessCredit(Rules):
    """Passes on half of the credit."""

    def passed_event(self, event: Event) -> Event:
        if event.HasField("resume"):
            event.resume.credit //= 2
        return event


@mutant("IT-INV-097")
class OwnReplyId(Rules):
    """Drops the id of a reply."""

    def passed_event(self, event: Event) -> Event:
        if event.HasField("input_reply"):
            event.input_reply.id = ""
        return event
