"""Grids that break RFC 0009, sections 3.1 and 3.2: tokens and ids."""

from __future__ import annotations

from collections.abc import Mapping

from intertie.v1 import invocation_pb2 as iv
from intertie_conformance.grid.invocations import Account, Asked, Run
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-INV-001", also=("IT-INV-004",))
class NoCatalog(Rules):
    """Serves no CatalogService."""

    def services(self) -> tuple[str, ...]:
        return ("account", "invocation")


@mutant("IT-INV-004")
class AnyToken(Rules):
    """Takes whoever calls with an unknown token for its first consumer."""

    def caller(self, metadata: Mapping[str, str], accounts: Mapping[str, Account]) -> Account:
        return accounts.get(metadata.get("authorization", "")) or next(iter(accounts.values()))


@mutant("IT-INV-005")
class IdsOfEverybody(Rules):
    """Finds an invocation by its id alone."""

    def known(self, account: Account, id: str, runs: Mapping[tuple[str, str], Run]) -> Run | None:
        return next((run for (_, name), run in runs.items() if name == id), None)


@mutant("IT-INV-006", also=("IT-INV-137",))
class SilentOnStream(Rules):
    """Says nothing of what it refuses on Stream."""

    def stream_refused(self, items: list[iv.InvocationEvent]) -> list[iv.InvocationEvent]:
        return []


@mutant("IT-INV-007")
class FailureIsStatus(Rules):
    """Answers Call of failed work with a status."""

    def call_answers(self, outcome: iv.Outcome) -> None:
        if outcome.problem.reason:
            raise Refusal(outcome.problem.reason, outcome.problem.message)


@mutant("IT-INV-013")
class AnyFuture(Rules):
    """Takes ids of any time to come."""

    def id_ahead(self, asked: Asked) -> None:
        return


@mutant("IT-INV-014")
class AnyPast(Rules):
    """Takes ids of any age."""

    def id_age(self, asked: Asked) -> None:
        return


@mutant("IT-INV-015")
class ForgetsEvents(Rules):
    """Answers a repeated request without its first events."""

    def repeated_from(self, repeated: bool) -> int:
        return 2 if repeated else 0


@mutant("IT-INV-015")
class TraceIsPart(Rules):
    """Takes the trace context for a part of the request."""

    def same(self, first: iv.Invocation, again: iv.Invocation) -> None:
        if first != again:
            raise Refusal("ID_CONFLICT", "This id was used for another request.")


@mutant("IT-INV-016")
class ReservesAgain(Rules):
    """Reserves budget for each repeat."""

    def repeats(self, run: Run) -> None:
        if run.outcome is None:
            run.account.reserved += run.request.max_charge


@mutant("IT-INV-016")
class ChargesAgain(Rules):
    """Takes the money for each repeat."""

    def repeats(self, run: Run) -> None:
        if run.outcome is not None:
            run.account.spent += run.outcome.receipt.charge


@mutant("IT-INV-017")
class IdIsEnough(Rules):
    """Answers every request with a known id, whatever it asks."""

    def same(self, first: iv.Invocation, again: iv.Invocation) -> None:
        return


@mutant("IT-INV-017")
class SessionIsNoPart(Rules):
    """Compares all fields but the session."""

    def same(self, first: iv.Invocation, again: iv.Invocation) -> None:
        made = iv.Invocation.FromString(again.SerializeToString())
        made.session, made.traceparent = first.session, first.traceparent
        super().same(first, made)


@mutant("IT-INV-018")
class RemembersRefusals(Rules):
    """Refuses an id that it has refused before."""

    def forgets_refused(self) -> bool:
        return False
