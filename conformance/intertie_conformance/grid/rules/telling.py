"""What consumers are told: states, events, outcomes, pages (RFC 0009, sections 3.7 to 3.14)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from intertie.v1 import invocation_pb2 as iv
from intertie.v1 import task_pb2 as tk
from intertie.v1.envelope_pb2 import Problem
from intertie.v1.event_pb2 import Event
from intertie_conformance.registry import LIMITS
from intertie_conformance.wire import ids
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from intertie_conformance.grid.invocations import Account, Run
    from intertie_conformance.wire.amounts import Price

_NEW, _WORK = tk.TASK_STATE_SUBMITTED, tk.TASK_STATE_WORKING
_ASK, _AUTH = tk.TASK_STATE_INPUT_REQUIRED, tk.TASK_STATE_AUTH_REQUIRED
TERMINAL: Final = frozenset(
    {tk.TASK_STATE_COMPLETED, tk.TASK_STATE_FAILED, tk.TASK_STATE_CANCELED, tk.TASK_STATE_REJECTED}
)
NEXT: Final[dict[tuple[int, str], int]] = {
    (_NEW, "started"): _WORK,
    (_WORK, "asked"): _ASK,
    (_ASK, "replied"): _WORK,
    (_AUTH, "replied"): _WORK,
}
"""(state, signal) → next state, the terminal ones left out."""
GATHERED: Final = 1_048_576
FIRST_WINDOW: Final = 65_536


class TellingRules:
    """The consumer face's answers."""

    def moved(self, state: int, signal: str) -> int:
        """The task state after a signal that ends nothing."""
        return NEXT.get((state, signal), state)

    def ended(self, state: int, final: int) -> int:
        """The task state after a terminal signal: the first one decides."""
        if state in TERMINAL:
            return state
        refused = final == tk.TASK_STATE_REJECTED and state in (_ASK, _AUTH)
        return tk.TASK_STATE_FAILED if refused else final

    def shown(self, event: Event) -> bool:
        """Whether an event is for consumers."""
        return event.WhichOneof("body") not in (None, "result", "grant_needed")

    def as_shown(self, event: Event) -> Event:
        """An event as a consumer sees it."""
        made = Event()
        made.CopyFrom(event)
        made.order_seq = 0
        return made

    def first_shown(self, after_seq: int) -> int:
        """The number of the first durable event that a subscription is sent."""
        return after_seq + 1

    def first_shown_late(self, after_seq: int) -> int:
        """The same after the end."""
        return after_seq + 1

    def told_all(self) -> None:
        """After the outcome the call ends with OK."""

    def repeated_from(self, repeated: bool) -> int:
        """After which number a request, new or repeated, is sent events."""
        return 0

    def outcomes(self, outcome: iv.Outcome) -> Sequence[iv.Outcome]:
        """The outcome, once."""
        return (outcome,)

    def gathered(self, run: Run) -> iv.Outcome:
        """The answer of Call: all output. Raises: Refusal."""
        outcome = iv.Outcome()
        if run.outcome is not None:
            outcome.CopyFrom(run.outcome)
        chunks = [event.chunk.payload for event in run.events if event.HasField("chunk")]
        if chunks:
            data = b"".join(chunk.data for chunk in chunks)
            self.gathered_size(len(data))
            outcome.output.data = data + outcome.output.data
            outcome.output.media_type = outcome.output.media_type or chunks[-1].media_type
        return outcome

    def gathered_size(self, size: int) -> None:
        """Call gathers no more than a MiB."""
        if size > GATHERED:
            raise Refusal("PAYLOAD_TOO_LARGE", "The output is too large for Call; use Invoke.")

    def receipt_usage(self, prices: Sequence[Price], quantities: Sequence[int]) -> list[tuple[str, int]]:
        """Quantities above 0, sorted by unit."""
        pairs = zip([unit for unit, _, _ in prices], quantities, strict=False)
        return sorted((unit, quantity) for unit, quantity in pairs if quantity)

    def receipt(self, receipt: iv.Receipt) -> iv.Receipt:
        """The receipt of an outcome."""
        return receipt

    def settles(self, account: Account, run: Run, charge: int) -> None:
        """The end of the hold: what was reserved is free, what was charged is spent."""
        account.reserved -= run.reserved
        account.spent += charge
        run.reserved = 0

    def goes_on(self, run: Run) -> bool:
        """Whether an invocation goes on when its consumer has gone."""
        return True

    # -- pages and frames -------------------------------------------------------------------------

    def listed(self, account: Account, runs: Sequence[Run]) -> list[Run]:
        """The account's own invocations, newest id first."""
        own = [run for run in runs if run.account is account]
        return sorted(own, key=lambda run: run.request.id, reverse=True)

    def in_states(self, run: Run, states: Sequence[int]) -> bool:
        """Whether an invocation is asked for."""
        return not states or run.state in states

    def next_page(self, shown: Sequence[Run], left: int) -> str:
        """The token of the next page, empty on the last one."""
        return shown[-1].request.id if shown and left else ""

    def list_token(self, token: str) -> None:
        """Takes the tokens that it has given. Raises: Refusal."""
        if token and not ids.is_id(token):
            raise Refusal("INVALID_ARGUMENT", "The page token is not one of this grid.", field="page_token")

    def after_token(self, runs: list[Run], token: str) -> list[Run]:
        """Invocations behind the last page. Raises: Refusal."""
        self.list_token(token)
        return [run for run in runs if run.request.id < token] if token else runs

    def stream_order(self) -> tuple[str, ...]:
        """The order in which the commands of a frame are taken."""
        return ("invocations", "subscriptions", "credits", "inputs", "cancels")

    def own_stream_frame(self) -> int:
        """Bytes of an own frame on Stream."""
        return LIMITS["frame_bytes"].maximum

    def stream_refused(self, items: list[iv.InvocationEvent]) -> list[iv.InvocationEvent]:
        """What is said of a refused command: one item."""
        return items

    def stream_credited(self, window: int, added: int) -> int:
        """The window of an invocation after a StreamCredit."""
        return window + added if added > 0 else window

    def refusal_ends_stream(self) -> bool:
        """Whether a refused invocation ends its stream."""
        return False

    def shares_window(self) -> bool:
        """Whether invocations of one stream share a window."""
        return False

    def stream_ends(self) -> bool:
        """Whether a stream ends once everything on it has been told."""
        return True

    def account_now(self, account: Account) -> tuple[int, int, int]:
        """Budget, reserved and spent of one moment."""
        return account.budget, account.reserved, account.spent

    def corrects(self, run: Run, outcome: iv.Outcome, state: int, problem: Problem | None) -> None:
        """An outcome that was reported keeps its state; its receipt is corrected."""
        assert run.outcome is not None
        run.outcome.receipt.CopyFrom(outcome.receipt)

    def repeats(self, run: Run) -> None:
        """A repeated request starts, reserves and orders nothing."""

    def call_answers(self, outcome: iv.Outcome) -> None:
        """Every admitted invocation is answered with its outcome, however it ended."""

    def told_status(self, status: iv.InvocationStatus) -> iv.InvocationStatus:
        """An invocation as it stands."""
        return status
