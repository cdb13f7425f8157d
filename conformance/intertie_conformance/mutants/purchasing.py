"""Grids that break RFC 0009, sections 3.5 to 3.12: orders for consumers, and events of providers."""

from __future__ import annotations

from collections.abc import Mapping

from intertie.v1 import invocation_pb2 as iv
from intertie.v1.event_pb2 import Event, InputReply
from intertie_conformance.grid.buying import Purchase
from intertie_conformance.grid.invocations import Asked, Run
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-INV-030")
class ForgetsSession(Rules):
    """Leaves the session out of the order."""

    def order_fields(self, run: Run, fields: dict[str, object]) -> Mapping[str, object]:
        return {**fields, "session": ""}


@mutant("IT-INV-030", also=("IT-INV-103",))
class GrantsAllAtOnce(Rules):
    """Grants the maximum charge with the order."""

    def order_fields(self, run: Run, fields: dict[str, object]) -> Mapping[str, object]:
        return {**fields, "grant": run.request.max_charge}


@mutant("IT-INV-030")
class OneNonce(Rules):
    """Uses one nonce for all orders."""

    def order_nonce_of(self, run: Run, fresh: bytes) -> bytes:
        return b"the same nonce again"


@mutant("IT-INV-032")
class NamesAccount(Rules):
    """Names the account in the order."""

    def order_fields(self, run: Run, fields: dict[str, object]) -> Mapping[str, object]:
        return {**fields, "account": run.account.name}


@mutant("IT-INV-024")
class ChecksEverySchema(Rules):
    """Checks inputs of other origins as well."""

    def input_fits(self, asked: Asked) -> None:
        self.check_input(asked.offer.message.input_schema, asked.wanted.input.data)


@mutant("IT-INV-058")
class PassesUnknown(Rules):
    """Passes events of unknown kinds on."""

    def unknown_event(self, made: Purchase, event: Event) -> None:
        made.run.events.append(self.as_shown(event))
        made.run.notify()


@mutant("IT-INV-059")
class ClosesOnStray(Rules):
    """Closes the link on an event of no order that it knows."""

    def stray_event(self, link: Link, event: Event) -> None:
        raise Refusal("ORDER_UNKNOWN", "No such order.")


@mutant("IT-INV-061")
class SilentGap(Rules):
    """Does not tell consumers that events are gone."""

    def gap(self, run: Run, event: Event) -> None:
        return


@mutant("IT-INV-076")
class NeverResumes(Rules):
    """Asks for nothing when the link is open again."""

    def resumes(self, made: Purchase) -> bool:
        return False


@mutant("IT-INV-079")
class KeepsCredit(Rules):
    """Returns no credit for what it takes."""

    def returns_credit(self, made: Purchase, size: int) -> None:
        return


@mutant("IT-INV-094")
class PassesEveryReply(Rules):
    """Passes replies to earlier requests on."""

    def passes_reply(self, run: Run, wanted: iv.SendInputRequest) -> bool:
        return True


@mutant("IT-INV-095")
class PassesReplyOnce(Rules):
    """Passes a reply on only once."""

    def passes_reply(self, run: Run, wanted: iv.SendInputRequest) -> bool:
        key = f"replied {run.request.id} {wanted.reply.request}"
        first = super().passes_reply(run, wanted) and key not in self.__dict__
        self.__dict__[key] = True
        return first


@mutant("IT-INV-095")
class ForgetsReply(Rules):
    """Does not say a reply again when the link is open again."""

    def replies_again(self, made: Purchase, reply: InputReply) -> None:
        return


@mutant("IT-INV-103")
class GrantsAsAsked(Rules):
    """Raises a grant to what is asked."""

    def raised_grant(self, granted: int, needed: int, most: int) -> int:
        return min(most, needed)


@mutant("IT-INV-111")
class CancelsAgain(Rules):
    """Writes a cancel for each wish to stop."""

    def cancels_order(self, run: Run) -> bool:
        return True
