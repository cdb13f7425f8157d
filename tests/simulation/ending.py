"""What must hold when faults are over and the network is drained (design §9, invariants 3, 7, 19 and the bounds).

Both sides of every link hold the same logs and the same account; an own recomputation from the logs alone
(`balances`) finds the same; every invocation has ended once; nothing is reserved for anybody; books and
budgets say what the logs say.
"""

from __future__ import annotations

from typing import Any

from tests.simulation.balances import LaneBook, Order
from tests.simulation.node import PROBE, Node
from tests.simulation.proofs import Origins, origins, unproven
from tests.simulation.relays import Books, relayed

from intertie.chain import entry_head
from intertie.v1 import link_pb2 as lk
from intertie.v1.invocation_pb2 import Outcome
from intertie.v1.task_pb2 import HoldState
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.opening import Phase
from intertie_node.core.peering import PeeringState
from intertie_node.core.tasks import TERMINAL

CHECKED_SIGNATURES = 25


def honest_links(sim: Any) -> list[tuple[Node, Node, str]]:
    """Both grids and the name of every link between honest grids."""
    found = []
    for genesis, peering in zip(sim.genesis, sim.plan.peerings, strict=True):
        a, b = sim.grids[peering.a], sim.grids[peering.b]
        if isinstance(a, Node) and isinstance(b, Node):
            found.append((a, b, genesis.hex()))
    return found


def stuck(sim: Any, node: Node, inv: Any) -> bool:
    """Whether an invocation waits for a hostile grid that never lets the link open again."""
    sides = [inv.source, inv.sink]
    links = [side.link for side in sides if hasattr(side, "link")]
    return any(not link.can_append and not isinstance(sim.grid_of(link.peer.fingerprint), Node) for link in links)


def at_rest(sim: Any) -> bool:
    """Whether nothing is open between honest grids."""
    if not all(node.alive and node.turns.idle for node in sim.nodes):
        return False
    for a, b, name in honest_links(sim):
        for link in (a.world.links[name], b.world.links[name]):
            if any(lane.open for lane in link.ledger.lanes):
                return False
        if not _up(a, b, name):
            return False
    return all(
        (inv.ended and inv.finished) or stuck(sim, node, inv)
        for node in sim.nodes
        for inv in node.world.invocations.values()
    ) and all(call.over for call in sim.consumers.calls.values())


def _up(a: Node, b: Node, name: str) -> bool:
    """Whether a link is open, or may be down: nobody dials one of a peering that both have terminated and settled."""
    phases = {node.world.links[name].phase for node in (a, b)}
    terminated = all(node.desk.states[name] is PeeringState.TERMINATED for node in (a, b))
    return phases == {Phase.OPEN} or (terminated and phases == {Phase.DOWN})


def acknowledged(sim: Any) -> bool:
    """Whether nothing is on its way between honest grids."""
    return all(
        link.ledger.acked == [link.pair.logs[THEM].seq, link.pair.logs[ME].seq]
        for a, b, name in honest_links(sim)
        for link in (a.world.links[name], b.world.links[name])
    )


def no_room(sim: Any, call: Any) -> bool:
    """Whether a limit of the peering really leaves no room for a call."""
    target = sim.grids[call.args["target"]]
    for link in call.node.world.links.values():
        if link.peer.fingerprint == target.fingerprint:
            lane, terms, most = link.ledger.lanes[ME], link.terms, call.request.max_charge
            return bool(
                lane.gross + most > terms.credit_limit[ME]
                or lane.unagreed + most > terms.max_unagreed[ME]
                or lane.open >= terms.max_open_holds
            )
    return False


def verdict(judge: Any) -> None:
    """Judge the whole world. Raises: Violation."""
    sim = judge.sim
    for call in sim.consumers.calls.values():
        judge.check(call.over, "every call has an end", call.key)
        lossy = any(node.restored for node in sim.nodes) or not isinstance(sim.grids[call.args["target"]], Node)
        judge.check(call.whole_output or lossy, "a completed call has its whole output", call.key)
    for a, b, name in honest_links(sim):
        _converged(judge, a, b, name)
    books: Books = {}
    by_offer = origins(sim)
    for node in sim.nodes:
        for name, link in node.world.links.items():
            _linked(judge, node, name)
            _recomputed(judge, node, name, link, books)
            _proven(judge, node, name, books[node.index, name, ME], by_offer)
        _ended(judge, node)
        _ordered_once(judge, node, books)
        _paid(judge, node, books)
        relayed(judge, node, books)


# -- both sides ---------------------------------------------------------------------------------------


def _converged(judge: Any, a: Node, b: Node, name: str) -> None:
    one, two = a.world.links[name], b.world.links[name]
    who = f"{a.identity.grid} and {b.identity.grid}"
    judge.check(_up(a, b, name), "healed links are open", f"{who}: {one.phase}, {two.phase}")
    logs = [(log.seq, log.head) for log in one.pair.logs]
    mirrored = [(log.seq, log.head) for log in two.pair.logs[::-1]]
    judge.check(logs == mirrored, "both sides hold the same logs", f"{who}: {logs} {mirrored}")
    lanes = [_lane(lane) for lane in one.ledger.lanes]
    others = [_lane(lane) for lane in two.ledger.lanes[::-1]]
    judge.check(lanes == others, "both sides hold the same account", f"{who}: {lanes} {others}")
    acked, seqs = one.ledger.acked, [log.seq for log in one.pair.logs]
    judge.check(acked == seqs[::-1], "everything is acknowledged", f"{who}: acked {acked} of {seqs[::-1]}")


def _lane(lane: Any) -> tuple[int, ...]:
    return lane.posted, lane.pending, lane.granted, lane.agreed, lane.open, lane.earned


# -- the logs alone -----------------------------------------------------------------------------------


def _linked(judge: Any, node: Node, name: str) -> None:
    """Both logs have every seq from 1 on, and each head follows from the one before."""
    for side in (ME, THEM):
        head = bytes.fromhex(name)
        for seq, row in enumerate(node.disk.log(name, side), 1):
            head = entry_head(head, row[3])
            told = f"{node.identity.grid}, {name}, side {side}, entry {seq}"
            judge.check((row[2], row[4]) == (seq, head), "logs are gapless and linked", told)


def _recomputed(judge: Any, node: Node, name: str, link: Any, books: Books) -> None:
    window, longest = link.terms.claim_window_ms, link.terms.max_hold_ms
    logs = [[row[3] for row in node.disk.log(name, side)] for side in (ME, THEM)]
    peer = judge.sim.grid_of(link.peer.fingerprint)
    honest = isinstance(peer, Node)
    who = f"{node.identity.grid} with {peer.identity.grid}"
    for payer in (ME, THEM):
        book = LaneBook(logs[payer], logs[1 - payer], window, longest)
        signed = _signatures(node, peer, name, payer)
        book.sign([(s.seq, s.acked) for s in signed])
        books[node.index, name, payer] = book
        lane = link.ledger.lanes[payer]
        told = f"{who}, payer {payer}: {lane.posted}, logs {book.posted()}"
        # What a link that never opened again has heard is held back: in memory, and not on the disk.
        heard = not link.can_append
        judge.check(heard or lane.posted == book.posted(), "charges are those of the logs", told)
        _check_totals(judge, book, signed, f"{who}, payer {payer}")
        own = [book.void[0] if payer == ME else book.void[1]]
        own += [book.void[1] if payer == ME else book.void[0]] if honest else []
        for void in own:
            judge.check(not void, "an honest grid writes nothing void", f"{who}: {void}")
        open_ = [order.seq for order in book.orders.values() if order.open]
        stuck_ = not honest and not link.can_append
        judge.check(not open_ or stuck_, "every hold ends", f"{who}, payer {payer}: {open_}")
        _check_books(judge, node, name, payer, book.posted(), who)


def _proven(judge: Any, node: Node, name: str, book: LaneBook, by_offer: Origins) -> None:
    logs = [[row[3] for row in node.disk.log(name, side)] for side in (ME, THEM)]
    found = unproven(book, logs[ME], logs[THEM], by_offer)
    judge.check(not found, "an honest payer agrees to nothing unproven", f"{node.identity.grid}: {found}")


def _signatures(node: Node, peer: Any, name: str, payer: int) -> list[lk.HeadSignature]:
    """All signatures of a lane's payer that either disk holds."""
    rows = {row[2:4]: row[4] for row in node.disk.signed(name, payer)}
    if isinstance(peer, Node):
        rows |= {row[2:4]: row[4] for row in peer.disk.signed(name, 1 - payer)}
    return [lk.HeadSignature.FromString(rows[key]) for key in sorted(rows)]


def _check_totals(judge: Any, book: LaneBook, signed: list[lk.HeadSignature], who: str) -> None:
    for signature in signed[-CHECKED_SIGNATURES:]:
        stated = int.from_bytes(signature.agreed_total, "big", signed=True)
        found = book.agreed(signature.seq, signature.acked)
        told = f"{who}: at {signature.seq}, {signature.acked} signed {stated}, logs {found}"
        judge.check(stated == found, "signed totals are those of the logs", told)


def _check_books(judge: Any, node: Node, name: str, payer: int, posted: int, who: str) -> None:
    account, sign = (f"payable/{name}", -1) if payer == ME else (f"receivable/{name}", 1)
    row = node.disk.row("balances", (account, "XTS"))
    balance = sign * (row[2] - row[3]) if row else 0
    judge.check(balance == posted, "books are those of the logs", f"{who}, {account}: {balance}, logs {posted}")


# -- invocations --------------------------------------------------------------------------------------


def _ended(judge: Any, node: Node) -> None:
    stuck_keys = {key for key, inv in node.world.invocations.items() if stuck(judge.sim, node, inv)}
    for row in node.disk.tables["invocations"].values():
        if row[0] not in stuck_keys:
            told = f"{node.identity.grid} {row[0]}: state {row[4]}, active {row[7]}"
            judge.check(row[4] in TERMINAL and not row[7], "every invocation ends on every node", told)
    left = [inv.key for inv in node.world.invocations.values() if inv.key not in stuck_keys]
    judge.check(not left, "what has ended is forgotten", f"{node.identity.grid}: {left}")
    waiting = [inv.key for queue in node.world.waiting.values() for inv in queue]
    judge.check(not waiting, "nothing waits for room for ever", f"{node.identity.grid}: {waiting}")
    judge.check(not node.runs or _deaf(node), "no work goes on for nobody", f"{node.identity.grid}: {list(node.runs)}")


def _ordered_once(judge: Any, node: Node, books: Books) -> None:
    """No id stands in two orders of one grid: an application that asks again is not charged again."""
    ids = [order.id for (grid, _, payer), book in books.items() if (grid, payer) == (node.index, ME)
           for order in book.orders.values()]  # fmt: skip
    twice = sorted({each for each in ids if ids.count(each) > 1})
    judge.check(not twice, "an id is ordered once", f"{node.identity.grid}: {twice}")


def _deaf(node: Node) -> bool:
    return all(run.deaf for run in node.runs.values())


def _paid(judge: Any, node: Node, books: Books) -> None:
    """Budgets: nothing reserved, and spent what the calls cost."""
    waits = any(stuck(judge.sim, node, inv) for inv in node.world.invocations.values())
    if node.restored or waits:
        return
    orders = {order.id: order for (grid, _, payer), book in books.items() if (grid, payer) == (node.index, ME)
              for order in book.orders.values()}  # fmt: skip
    spent: dict[str, int] = {}
    for row in node.disk.tables["invocations"].values():
        if row[1] is not None:
            spent[row[1]] = spent.get(row[1], 0) + _cost(judge, node, row, orders)
    for name, _, _, reserved, paid, *_ in node.disk.all_rows("accounts"):
        who = f"{node.identity.grid} {name}"
        judge.check(reserved == 0, "nothing stays reserved", f"{who}: {reserved}")
        told = f"{who}: {paid}, calls cost {spent.get(name, 0)}"
        judge.check(paid == spent.get(name, 0), "budgets are those of the calls", told)
    assert PROBE in node.world.books.accounts


def _cost(judge: Any, node: Node, row: tuple[Any, ...], orders: dict[str, Order]) -> int:
    """What a call has cost, minor units; its receipt says so, and how the hold ended."""
    order, receipt = orders.get(row[0].partition("@")[0]), Outcome.FromString(row[9] or b"").receipt
    if order is None:
        return int(receipt.charge)
    who = f"{node.identity.grid} {row[0]}: {receipt.charge} {HoldState.Name(receipt.hold)}"
    told = f"{who}, logs {order.cost()} {HoldState.Name(order.end)}"
    same = (receipt.charge, receipt.hold) == (order.cost(), order.end)
    judge.check(same, "a receipt says what the logs say", told)
    return order.cost()
