"""The payer's side of a link: what providers claim, and whether it is agreed (design §7, §9)."""

from google.protobuf.message import DecodeError

from intertie.amounts import INT64_MAX
from intertie.errors import IntertieError, to_problem, trimmed
from intertie.records import verify_proof
from intertie.v1 import entry_pb2 as pb
from intertie.v1.record_pb2 import ExecutionRecord
from intertie.v1.task_pb2 import (
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    TASK_STATE_REJECTED,
)
from intertie_node.core.blinding import upstream_caller
from intertie_node.core.crediting import pass_on, take_back
from intertie_node.core.effects import Effects
from intertie_node.core.holds import OPEN, Hold
from intertie_node.core.invocations import End, Invocation
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.link import Link
from intertie_node.core.outputs import check_counted, check_output
from intertie_node.core.pair import Fact
from intertie_node.core.proofs import check_record, owes_record
from intertie_node.core.rejoining import note_end
from intertie_node.core.sharing import cost_account
from intertie_node.core.sinks import OrderSink
from intertie_node.core.sources import ConsumerSource
from intertie_node.core.world import World, problem

RESULT_WAIT_MS = 3_000


def on_charge(world: World, link: Link, fact: Fact, data: bytes, fx: Effects) -> None:
    """A valid claim on an own order: post it, and refuse it if its proof does not hold."""
    body = fact.entry.charge
    hold = link.ledger.find(ME, body.order_seq)
    assert hold is not None, f"charge {fact.seq} is valid, so its order is known"
    inv = world.orders.get((link.name, ME, body.order_seq))
    before = hold.charged_before(fact.seq)
    to, origin = link.accounts, (link.name, THEM, fact.seq, inv.key if inv else "")
    cost = cost_account(link, upstream_caller(world.secret, hold.terms.account))
    world.books.transfer(fx, cost, to.payable, body.amount - before, link.asset, origin)
    usage = dict(zip(hold.terms.units, body.quantities[:], strict=True))
    if not body.final:
        if inv is not None:
            inv.source.charge(world, inv, usage, fx)
        return
    try:
        record = check_claim(world, hold, body, before)
        check_output(inv, record)
        check_counted(inv, usage, body.state)
    except IntertieError as fault:
        if fact.seq > link.ledger.acked[ME]:
            refuse(link, fact.seq, fault.reason, fault.message, fx)
        end = End(TASK_STATE_FAILED, hold.usage_before(fact.seq), problem=to_problem(fault))
    else:
        error = trimmed(body.problem) if body.HasField("problem") else None
        end = End(body.state, usage, body.proof if record is not None else None, error, record)
    if inv is not None:
        inv.source.finish(world, inv, end, fx)
        if hold.credits:
            pass_on(world, link, hold, fx)
        _await_result(world, inv, fx)
    else:
        note_end(world, link, body.order_seq, end, fx)


def _await_result(world: World, inv: Invocation, fx: Effects) -> None:
    """The money is final; the result may follow in a later frame: pass it on before the invocation is forgotten."""
    if inv.outcome is None and inv.result is None and inv.state == TASK_STATE_COMPLETED:
        world.at(fx.now + RESULT_WAIT_MS, "result", inv.key)
    elif not isinstance(inv.source, ConsumerSource):
        fx.reply(world.forget, inv)


def result_due(world: World, inv: Invocation, fx: Effects) -> None:
    """A result is still missing: a relay forgets (and recalls when asked), a consumer's grid asks again."""
    if not isinstance(inv.source, ConsumerSource):
        world.forget(inv)
    elif inv.outcome is None and isinstance(inv.sink, OrderSink):
        inv.sink.resume(world, inv, inv.sink.after, world.settings.event_credit, fx)
        world.at(fx.now + RESULT_WAIT_MS, "result", inv.key)


def check_claim(world: World, hold: Hold, body: pb.Charge, before: int) -> ExecutionRecord | None:
    """The proven record of a final claim, None where none is owed (design §9, execution records).

    None is owed for work that was not completed and claims nothing beyond `before`, minor units.

    Raises: IntertieError CHARGE_UNPROVEN, RECORD_MISMATCH.
    """
    if not owes_record(body, before):
        return None
    executor = world.executors.get(_executor(world, hold, body))
    if executor is None:
        raise IntertieError("CHARGE_UNPROVEN", "The record's executor is not known here.")
    record = verify_proof(body.proof, executor, world.roots)
    check_record(hold.terms, body, record)
    return record


def _executor(world: World, hold: Hold, body: pb.Charge) -> bytes:
    """Whose record it must be: the offer's origin; for an offer since withdrawn, whom the record names."""
    offer = world.catalog.offers.get(hold.terms.offer_digest)
    if offer is not None:
        return offer.origin
    try:
        return ExecutionRecord.FromString(body.proof.record).executor
    except DecodeError as error:
        raise IntertieError("CHARGE_UNPROVEN", "The execution record does not decode.") from error


def refuse(link: Link, entry_seq: int, rule: str, comment: str, fx: Effects) -> None:
    """Say that an entry of the other log is not agreed."""
    body = pb.Refuse(entry_seq=entry_seq, rule=rule, comment=comment[:256])
    link.append(pb.Entry(kind=pb.ENTRY_KIND_REFUSE, refuse=body), fx)


def withdraw(link: Link, entry_seq: int, fx: Effects) -> int:
    """Take an own refusal back; returns the entry's seq.

    Raises: IntertieError PEER_UNAVAILABLE until the link has been open, WITHDRAW_INVALID if none stands.
    """
    if not link.can_append:
        raise IntertieError("PEER_UNAVAILABLE", f"The link with {link.peer.grid} has not been open yet; try again.")
    if not link.ledger.refuses(entry_seq):
        raise IntertieError("WITHDRAW_INVALID", f"No refusal of entry {entry_seq} stands.")
    body = pb.Withdraw(entry_seq=entry_seq)
    return link.append(pb.Entry(kind=pb.ENTRY_KIND_WITHDRAW, withdraw=body), fx)


def on_reject(world: World, link: Link, fact: Fact, data: bytes, fx: Effects) -> None:
    """The provider did no work."""
    body = fact.entry.reject
    inv = world.orders.get((link.name, ME, body.order_seq))
    if inv is None:
        note_end(world, link, body.order_seq, End(TASK_STATE_REJECTED, {}, problem=trimmed(body.problem)), fx)
        return
    inv.source.reject(world, inv, trimmed(body.problem), fx)
    if not isinstance(inv.source, ConsumerSource):
        fx.reply(world.forget, inv)


def on_credit(world: World, link: Link, fact: Fact, data: bytes, fx: Effects) -> None:
    """The provider takes back part of its charges."""
    take_back(world, link, fact.entry.credit, fact.seq, fx)


def on_tariff(world: World, link: Link, fact: Fact, data: bytes, fx: Effects) -> None:
    """The provider prices an origin; the ledger holds it, advertisements name it."""


def expire_due(world: World, link: Link, order_seq: int, fx: Effects) -> None:
    """The claim window of an own order has passed: end its hold, unless something has ended it."""
    hold = link.ledger.holds.get((ME, order_seq))
    if hold is None or hold.state is not OPEN:
        return
    if not link.can_append:
        world.at(fx.now + 1_000, "expire", f"{link.name}:{order_seq}")
        return
    body = pb.Expire(order_seq=order_seq)
    link.append(pb.Entry(kind=pb.ENTRY_KIND_EXPIRE, expire=body), fx)
    expired(world, link, hold, fx)


def expired(world: World, link: Link, hold: Hold, fx: Effects) -> None:
    """The hold of an own order has expired: what was claimed and agreed before is all that its work costs."""
    lost = problem("OUTCOME_UNKNOWN", "The provider said nothing until its claim window had passed.")
    end = End(TASK_STATE_FAILED, hold.usage_before(INT64_MAX), problem=lost)
    inv = world.orders.get((link.name, ME, hold.seq))
    if inv is None:
        note_end(world, link, hold.seq, end, fx)
        return
    inv.source.finish(world, inv, end, fx)
    if hold.credits:
        pass_on(world, link, hold, fx)
    fx.reply(world.forget, inv)
