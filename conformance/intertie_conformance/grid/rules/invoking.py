"""What a grid checks when a consumer asks it to run an offer, and whom it answers (RFC 0009, sections 3.1 to 3.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from intertie.v1 import invocation_pb2 as iv
from intertie_conformance.grid import work
from intertie_conformance.grid.account import ME
from intertie_conformance.registry import LIMITS
from intertie_conformance.wire import ids
from intertie_conformance.wire.build import event, size_of
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie_conformance.grid.invocations import Account, Asked, Run

AHEAD_MS: Final = 300_000
LONGEST_MS: Final = 3_600_000
USUAL_MS: Final = 60_000


class InvokingRules:
    """The consumer face's checks."""

    def services(self) -> tuple[str, ...]:
        """What the public port serves to consumers."""
        return ("account", "catalog", "invocation")

    def caller(self, metadata: Mapping[str, str], accounts: Mapping[str, Account]) -> Account:
        """The account of a call's token. Raises: Refusal."""
        account = accounts.get(metadata.get("authorization", ""))
        if account is None:
            raise Refusal("UNAUTHENTICATED", "Send a known token as authorization: Bearer ….")
        return account

    def known(self, account: Account, id: str, runs: Mapping[tuple[str, str], Run]) -> Run | None:
        """An invocation of this account, of nobody else."""
        return runs.get((account.name, id))

    def same(self, first: iv.Invocation, again: iv.Invocation) -> None:
        """A known id is answered for the same request alone; the trace context is not part of it."""
        one, other = iv.Invocation.FromString(first.SerializeToString()), iv.Invocation()
        other.CopyFrom(again)
        one.traceparent = other.traceparent = ""
        if one != other:
            raise Refusal("ID_CONFLICT", "This id was used for another request.", id=again.id)

    def forgets_refused(self) -> bool:
        """Nothing is kept of a refused request."""
        return True

    def unknown_subscription(self) -> None:
        """An account has no invocation of this id."""
        raise Refusal("NOT_FOUND", "No invocation of this account has this id.")

    # -- checks, in the order of Table 1 ----------------------------------------------------------

    def id_form(self, asked: Asked) -> None:
        """A UUIDv7."""
        if not ids.is_id(asked.wanted.id):
            raise Refusal("ID_INVALID", "An id must be a UUIDv7 in lower-case text form.", id=asked.wanted.id[:64])

    def id_age(self, asked: Asked) -> None:
        """Not older than the retention."""
        if ids.time_of(asked.wanted.id) < asked.now - LIMITS["retention_ms"].default:
            raise Refusal("ID_EXPIRED", "The id is older than the retention.", id=asked.wanted.id)

    def id_ahead(self, asked: Asked) -> None:
        """Not from the future."""
        if ids.time_of(asked.wanted.id) > asked.now + AHEAD_MS:
            raise Refusal("ID_INVALID", "The time of the id lies in the future.", id=asked.wanted.id)

    def offer_known(self, asked: Asked) -> None:
        """An offer that is known here."""
        asked.find()

    def input_size(self, asked: Asked) -> None:
        """An inline input."""
        if len(asked.wanted.input.data) > LIMITS["inline_bytes"].minimum:
            raise Refusal("INPUT_TOO_LARGE", "The input is too large to travel inline.")

    def timeout(self, asked: Asked) -> None:
        """A deadline within an hour."""
        if not 1 <= (asked.wanted.timeout_ms or USUAL_MS) <= LONGEST_MS:
            raise Refusal("DEADLINE_TOO_LONG", f"timeout_ms must lie between 1 and {LONGEST_MS}.")

    def amounts(self, asked: Asked) -> None:
        """0 ≤ first_grant ≤ max_charge."""
        if not 0 <= asked.wanted.first_grant <= asked.wanted.max_charge:
            raise Refusal("AMOUNT_INVALID", "max_charge and first_grant must be amounts, the first the higher.")

    def input_fits(self, asked: Asked) -> None:
        """Own offers: what the schema asks for."""
        if asked.route is None:
            asked.face.grid.rules.check_input(asked.offer.message.input_schema, asked.wanted.input.data)

    def place_allowed(self, asked: Asked) -> None:
        """The policy allows the place."""
        place = asked.offer.message.place
        if asked.route is None:
            place = place or asked.face.grid.me.described.message.place
        if not self.place_fits(place, asked.wanted.policy.places):
            raise Refusal("POLICY_VIOLATION", "The work would be done in a place that is not allowed.", place=place)

    def place_fits(self, place: str, allowed: Sequence[str]) -> bool:
        """Whether a list of codes, empty for any, allows a place."""
        return work.is_allowed(place, allowed)

    def reachable(self, asked: Asked) -> None:
        """Other grids' offers: there is a way."""
        route, rules = asked.route, asked.face.grid.rules
        if route is not None and rules.priced(asked.offer, route.tariff) is None:
            raise Refusal("AMOUNT_OVERFLOW", "The price of this offer cannot be stated on the way to it.")
        if route is not None and not rules.is_candidate(route, asked.now):
            raise rules.out_of_reach(asked.face.grid.buyer.routes.of_offer(asked.offer), asked.wanted.offer)

    def pays_order(self, asked: Asked) -> None:
        """One order can be paid for."""
        least = sum(-(-num // den) for unit, num, den in asked.prices if unit == "order")
        if asked.wanted.max_charge < least:
            raise Refusal("BUDGET_EXCEEDED", f"One order costs at least {least}.")

    def texts(self, asked: Asked) -> None:
        """What is copied into an order fits one, also where none is written."""
        wanted = asked.wanted
        names = (*wanted.policy.places, wanted.session, wanted.group, wanted.input.media_type, "")
        if sum(4 * len(name) + 8 for name in names) > 32_768:
            raise Refusal("PAYLOAD_TOO_LARGE", "Places, session and group are too long.")

    def credit_room(self, asked: Asked) -> None:
        """Other grids' offers: the own credit limit."""
        link = asked.link
        if link and link.logs.account.gross(ME) + asked.wanted.max_charge > link.terms.credit_limit[ME]:
            raise Refusal("CREDIT_LIMIT", "The order would exceed the credit limit.")

    def unagreed_room(self, asked: Asked) -> None:
        """Other grids' offers: the own max_unagreed."""
        link = asked.link
        if link and link.logs.account.unagreed(ME) + asked.grant > link.terms.max_unagreed[ME]:
            raise Refusal("UNAGREED_LIMIT", "Too much is granted and not agreed.")

    def order_room(self, asked: Asked) -> None:
        """Other grids' offers: not too many open orders."""
        link = asked.link
        if link and len(link.logs.account.open(ME)) >= min(link.terms.max_open_holds, link.other_limits.orders):
            raise Refusal("TOO_MANY_ORDERS", "Too many orders are open.")

    def hold_length(self, asked: Asked) -> None:
        """Other grids' offers: the deadline is one that the agreement takes."""
        link = asked.link
        if link and (asked.wanted.timeout_ms or USUAL_MS) > link.terms.max_hold_ms:
            raise Refusal("DEADLINE_TOO_LONG", f"Orders may last {link.terms.max_hold_ms} ms on this link.")

    def budget(self, asked: Asked) -> None:
        """The account has the money."""
        account = asked.account
        if asked.wanted.max_charge > account.budget - account.reserved - account.spent:
            raise Refusal("BUDGET_EXCEEDED", "The account's budget is lower than the maximum charge.")

    NEW_CHECKS: tuple[str, ...] = (
        "id_form",
        "id_age",
        "id_ahead",
        "offer_known",
        "input_size",
        "timeout",
        "amounts",
        "input_fits",
        "place_allowed",
        "reachable",
        "pays_order",
        "texts",
        "credit_room",
        "unagreed_room",
        "order_room",
        "hold_length",
        "budget",
    )

    def new_checks(self) -> tuple[str, ...]:
        """The checks of a new invocation, in their order."""
        return self.NEW_CHECKS

    def reserves(self, account: Account, amount: int) -> int:
        """What an invocation reserves of the budget."""
        return amount

    # -- commands about a known invocation --------------------------------------------------------

    def reply_size(self, wanted: iv.SendInputRequest) -> None:
        """A reply whose payload and event every link takes."""
        self.reply_payload(wanted)
        self.reply_event(wanted)

    def reply_payload(self, wanted: iv.SendInputRequest) -> None:
        """Not too much payload."""
        if len(wanted.reply.payload.data) > LIMITS["inline_bytes"].minimum:
            raise Refusal("INPUT_TOO_LARGE", "The reply is too large to travel inline.")

    def reply_event(self, wanted: iv.SendInputRequest) -> None:
        """Its event is not too large."""
        if size_of(event(input_reply=wanted.reply)) > LIMITS["event_bytes"].maximum:
            raise Refusal("INPUT_TOO_LARGE", "The reply's id or media type is too long.")

    def reply_asked(self, run: Run, wanted: iv.SendInputRequest) -> None:
        """A reply to a request that was made, while the invocation runs."""
        number, latest = wanted.reply.request, run.asked
        if run.outcome is not None or not number or (latest and number > latest):
            raise Refusal("INVALID_ARGUMENT", "Nothing of the kind was asked for.", field="reply.request")

    def check_reply(self, run: Run, wanted: iv.SendInputRequest) -> None:
        """Table of section 3.10, the known invocation's part."""
        self.reply_size(wanted)
        self.reply_asked(run, wanted)

    def passes_reply(self, run: Run, wanted: iv.SendInputRequest) -> bool:
        """Whether a reply goes on to the executor: the latest one, however often."""
        return wanted.reply.request == run.asked or not run.asked

    def cancel_ended(self, run: Run) -> None:
        """A cancel after the end changes nothing."""

    def cancels_order(self, run: Run) -> bool:
        """Whether a wish to stop goes on to the provider: once."""
        return not run.stopping

    def page_size(self, asked: int) -> int:
        """Items of a page. Raises: Refusal."""
        self.page_limit(asked)
        return asked or LIMITS["page_size"].default

    def page_limit(self, asked: int) -> None:
        """At most a hundred."""
        if asked > LIMITS["page_size"].maximum:
            raise Refusal("INVALID_ARGUMENT", "page_size must lie between 0 and 100.", field="page_size")

    def stream_frame(self, size: int) -> None:
        """A consumer's frame is not too large."""
        if size > LIMITS["frame_bytes"].maximum:
            raise Refusal("FRAME_TOO_LARGE", "A frame on Stream may have 262144 bytes.")
