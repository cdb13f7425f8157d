"""Faults planted in the shipped modules, one line each, and how many seeds it takes to find them.

`python -m tests.simulation.plants` runs every plant in a process of its own: the line is replaced in the source
as it is loaded, so the simulator meets the fault where the node would. A plant that no seed finds means that
the world or its judge is too kind; a plant whose line is gone is stale, and an error as well.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.simulation.found import FOUND, REGRESSIONS
from tests.simulation.planting import CORE, SERVICES, Plant, plant

MOST_SEEDS = 300


PLANTS: Mapping[str, Plant] = {
    "speak before commit": Plant(
        SERVICES + "turns", 'self._reach("before_commit", effects)', "self._speak(effects)"
    ),
    "work before commit": Plant(
        SERVICES + "turns", 'self._reach("before_commit", effects)', "[self._perform(w) for w in effects.work]"
    ),
    "skip a retransmission": Plant(SERVICES + "links", "while size < PAGE_BYTES:", "while False:"),
    "resend orders without their input": Plant(
        SERVICES + "links", "frame.inputs.add(order_seq=seq, data=data)", "pass"
    ),
    "off by one among kept heads": Plant(
        CORE + "log", "for old in [s for s in heads if s < seq]:", "for old in [s for s in heads if s <= seq]:"
    ),
    "forget the hold on reject": Plant(
        CORE + "holds", "hold.state, hold.ended_seq = HoldState.REJECTED, seq", "hold.ended_seq = seq"
    ),
    "take a charge beyond the grant": Plant(
        CORE + "holds", "if not 0 <= amount <= hold.grant_at(entry.seen):", "if not 0 <= amount <= terms.max_charge:"
    ),
    "take a charge that falls": Plant(
        CORE + "holds",
        "if before and any(now < then for now, then in zip(quantities, before.quantities, strict=True)):",
        "if False:",
    ),
    "work without grant": Plant(CORE + "executing", "if amount > inv.source.granted(world, inv):", "if False:"),
    "expire at the deadline": Plant(
        CORE + "holds", "claim_until=order.deadline + window,", "claim_until=order.deadline,"
    ),
    "expire by the wrong clock": Plant(
        CORE + "placing",
        'world.at(order.deadline + link.terms.claim_window_ms, "expire", f"{link.name}:{seq}")',
        'world.at(order.deadline, "expire", f"{link.name}:{seq}")',
    ),
    "an expire voids nothing that crossed it": Plant(
        CORE + "holds", "hold.claims = tuple(c for c in hold.claims if c.seq <= entry.seen)", "pass"
    ),
    "release a budget twice": Plant(CORE + "books", "account.reserved -= reserved", "account.reserved -= 2 * reserved"),
    "reserve beyond the budget": Plant(CORE + "books", "if amount > account.left:", "if False:"),
    "a relay grants by its own order": Plant(
        CORE + "sinks",
        "wanted = min(self.rate.down(inv.source.granted(world, inv)), hold.terms.max_charge)",
        "wanted = hold.terms.max_charge",
    ),
    "remember that there was no way": Plant(
        CORE + "placing",
        "found = ways(world, offer, now, upstream)",
        "found = world.ways.setdefault((offer.digest, f'no {key}'), ways(world, offer, now, upstream))",
    ),
    "a relay forgets its fee": Plant(
        CORE + "placing", "return Rate(-int(-fee // 1), lines, ratio.numerator, ratio.denominator)",
        "return Rate(0, 0, ratio.numerator, ratio.denominator)",
    ),
    "acknowledge only with own entries": Plant(
        CORE + "link",
        "frame = self._signed_frame(fx) if box.entries or (box.sign and self.can_append) else None",
        "frame = self._signed_frame(fx) if box.entries else None",
    ),
    "append before the link was ever open": Plant(
        CORE + "link_rows", "self.writable = False", "self.writable = True"
    ),
    "take back what a lost signature says": Plant(
        CORE + "link", "self.plan = self.plan.with_signature(signature.seq, signature.acked)", "pass"
    ),
    "round up twice": Plant(
        "intertie.amounts", "total -= quantity * num // -den", "total += quantity * num // den + 1"
    ),
    "leave a restored node's books as they are": Plant(CORE + "recovery", "_align(world, link, fx)", "pass"),
    "leave own entries that came back to themselves": Plant(CORE + "grid", "adopt(self.world, link, fact, fx)", "pass"),
    "set no expiry after a restart": Plant(
        CORE + "recovery", 'world.at(hold.terms.claim_until, "expire", f"{link.name}:{seq}")', "pass"
    ),
    "count no open hold after a restart": Plant(
        CORE + "link_rows", "ledger.lanes[hold.payer].move((hold.posted, *NO_WEIGHT[1:]), hold.weight)", "pass"
    ),
    "lose what was held back": Plant(CORE + "link_rows", "fx.changes.append(table, late)", "pass"),
    "run everything again after a crash": Plant(
        CORE + "recovery", "executing.recover(world, inv, fx)", "executing.start(world, inv, fx)"
    ),
    "let max_unagreed be": Plant(CORE + "selling", "if lane.unagreed > limit:", "if False:"),
    "let the credit limit be": Plant(CORE + "selling", "if lane.gross > terms.credit_limit[THEM]:", "if False:"),
    "agree to any record": Plant(CORE + "buying", "check_record(hold.terms, body, record)", "pass"),
    "agree to refused charges": Plant(CORE + "holds", "if not claim.refused:", "if True:"),
    "settle one entry late": Plant(CORE + "holds", "if claim.seq <= acked:", "if claim.seq < acked:"),
    "a clock that falls after a restart": Plant(CORE + "pair", "entry.at = self.next_at(now)", "entry.at = now"),
    "push events to everybody": Plant(
        CORE + "sources",
        "if number in (0, subscriber.next) and not is_result:",
        "if not is_result:",
    ),
    "take an id for another body": Plant(
        CORE + "consuming", "if inv.spec.digest and inv.spec.digest != digest:", "if False:"
    ),
    "never forget a bad frame's money": Plant(CORE + "ledger", "self.lanes = self._saved", "pass"),
    "keep an invocation for ever": Plant(
        CORE + "world", "if self.invocations.pop(inv.key, None) is not None:", "if False:"
    ),
    "leave a receipt as it was before a credit": Plant(
        CORE + "crediting", "inv.outcome.receipt.charge = source.charged", "pass"
    ),
    "leave waiting orders waiting": Plant(
        CORE + "selling",
        "while queue and lane.unagreed - parked + (first := world.granted(link, queue[0])) <= most:",
        "while False:",
    ),
}  # fmt: skip
"""What is planted, by name."""
ALL: Mapping[str, Plant] = {**PLANTS, **FOUND}
"""What is planted and what was found and mended."""
SHORT = (
    "speak before commit", "skip a retransmission", "forget the hold on reject", "work without grant",
    "append before the link was ever open", "settle one entry late",
)  # fmt: skip
"""Those that a short run plants."""


def seek(name: str, most: int) -> dict[str, object]:
    """Plant a fault in this process and run seeds until one finds it; what was found before begins with its worlds."""
    plant(ALL[name])
    from tests.simulation.run import play_seed

    first = REGRESSIONS if name in FOUND else ()
    for tried, seed in enumerate((*first, *range(most - len(first))), 1):
        result = play_seed(seed)
        if result.invariant:
            found = {"seeds": tried, "seed": seed, "invariant": result.invariant, "detail": result.detail}
            return {"plant": name, **found}
    return {"plant": name, "seeds": None}


def hunt(names: Sequence[str], most: int, jobs: int) -> Iterator[dict[str, object]]:
    """Seek every plant, each in a fresh process."""

    def one(name: str) -> dict[str, object]:
        command = [sys.executable, "-m", "tests.simulation.plants", "--one", name, "--most", str(most)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return {"plant": name, "seeds": None, "error": done.stderr.strip().splitlines()[-1:]}
        found: dict[str, object] = json.loads(done.stdout)
        return found

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(one, names)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Plant faults and count the seeds that find them.")
    parser.add_argument("--one", help="plant this one here and print JSON")
    parser.add_argument("--only", help="plant those whose name contains this")
    parser.add_argument("--short", action="store_true", help="plant a few")
    parser.add_argument("--most", type=int, default=MOST_SEEDS, help="most seeds a plant")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(seek(args.one, args.most)))
        return 0
    names = [name for name in (SHORT if args.short else ALL) if not args.only or args.only in name]
    missed = 0
    for found in hunt(names, args.most, args.jobs):
        missed += found["seeds"] is None
        told = f"NOT FOUND {found.get('error', '')}"
        if found["seeds"]:
            told = f"{found['seeds']:>4} seeds, the last {found['seed']}: {found['invariant']}"
        print(f"{found['plant']:<48} {told}", flush=True)
    print(f"{len(names)} faults planted, {len(names) - missed} found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
