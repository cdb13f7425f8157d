"""RFC 0011, sections 3.1 to 3.3: when a relay orders downstream, and what it orders."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.checks import check
from intertie_conformance.grid.account import ME
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.registry import LIMITS
from intertie_conformance.roles import ordering, relayed
from intertie_conformance.roles.relayed import Chain
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import ids

K = pb.EntryKind


def same(stage: Stage, what: str, expected: object, got: object) -> None:
    """A value is the expected one, noted as seen. Raises: Failed."""
    if got != expected:
        fail(f"{what} {expected!r}"[:400], repr(got)[:400])
    stage.saw(f"{what} is as it must be")


async def refused(chain: Chain, reason: str, name: str = "echo", value: object = "x", **changes: Any) -> None:
    """An order upstream is rejected with a reason and nothing is ordered downstream. Raises: Failed."""
    above = chain.send(name, value, **changes)
    await ordering.expect_rejected(chain.payer, above, *reason.split(" or "))
    if chain.below(above):
        fail("no downstream order for a rejected one", "one was placed")


@check("IT-RLY-001", role="executor")
async def one_for_one(stage: Stage) -> None:
    """One order downstream for each upstream one, also when the payer's link has gone and come."""
    chain = await relayed.chain(stage)
    first, second = await chain.order("echo", "1"), await chain.order("echo", "2")
    await chain.payer.up()
    await chain.known()
    await chain.end(first)
    await chain.still_relays()
    for passed in (first, second):
        same(stage, "the number of downstream orders", 1, len(chain.below(passed.above)))
    await chain.end(second)


@check("IT-RLY-003", role="hostile peer", refusal=True)
async def no_hop_left(stage: Stage) -> None:
    """An order that may take no further hop is rejected with HOP_LIMIT, before its place is looked at."""
    chain = await relayed.chain(stage)
    await refused(chain, "HOP_LIMIT", hop_limit=0)
    await refused(chain, "HOP_LIMIT", hop_limit=0, policy={"places": ["XX"]})
    await chain.still_relays()


@check("IT-RLY-003", role="hostile peer", refusal=True)
async def forbidden_place(stage: Stage) -> None:
    """An order whose policy does not allow the unstated place is rejected with POLICY_VIOLATION."""
    chain = await relayed.chain(stage)
    await refused(chain, "POLICY_VIOLATION", policy={"places": ["XX"]})
    await chain.still_relays()


@check("IT-RLY-003", role="hostile peer", refusal=True)
async def too_late(stage: Stage) -> None:
    """An order that leaves no time for the downstream one is rejected with DEADLINE_EXCEEDED."""
    chain = await relayed.chain(stage)
    left = relayed.margin_ms(chain)
    await refused(chain, "DEADLINE_EXCEEDED", deadline=now_ms() + left // 2)
    await chain.still_relays()


@check("IT-RLY-003", role="hostile peer", refusal=True)
async def long_texts(stage: Stage) -> None:
    """An order whose texts are too long together is rejected with PAYLOAD_TOO_LARGE; one below is passed on."""
    chain = await relayed.chain(stage)
    await refused(chain, "PAYLOAD_TOO_LARGE", actors=["a" * 2_000] * 4, session="s" * 200)
    passed = await chain.order("echo", "x", actors=["a" * 2_000] * 4)
    await chain.end(passed)


@check("IT-RLY-003", role="executor", refusal=True, waits_s=1)
async def link_is_down(stage: Stage) -> None:
    """An order whose way is down is rejected with PEER_UNAVAILABLE or NO_ROUTE; once it is back, it is passed on."""
    chain = await relayed.chain(stage)
    await chain.still_relays()
    await chain.shop.go_down()
    await refused(chain, "PEER_UNAVAILABLE or NO_ROUTE")
    chain.payer.routes.clear()
    await chain.shop.come_back()
    await chain.known()
    await chain.still_relays()


@check("IT-RLY-003", role="executor", refusal=True, waits_s=1)
async def small_inputs(stage: Stage) -> None:
    """An input above what the executor has declared is rejected with INPUT_TOO_LARGE; one at the limit is passed on."""
    least = LIMITS["inline_bytes"].minimum
    shop = await relayed.executor(stage, limits={"inline_bytes": least})
    chain = await relayed.chain(stage, shop=shop)
    await refused(chain, "INPUT_TOO_LARGE", value=b"x" * (least + 1))
    await chain.end(await chain.order("echo", b"x" * least))


@check("IT-RLY-003", role="executor", refusal=True, waits_s=1)
async def short_paths(stage: Stage) -> None:
    """A path longer than the executor has declared is rejected with HOP_LIMIT; one at the limit is passed on."""
    shop = await relayed.executor(stage, limits={"hops": 2})
    chain = await relayed.chain(stage, shop=shop)
    await refused(chain, "HOP_LIMIT", path=["far.example", chain.payer.me.grid])
    await chain.still_relays()


@check("IT-RLY-003", role="executor", refusal=True, waits_s=1)
async def narrow_link(stage: Stage) -> None:
    """The own limits of the downstream link hold: input, credit, unagreed, orders, length of holds."""
    limits: dict[str, Any] = {"acceptor_credit_limit": 20_000, "acceptor_max_unagreed": 4_000, "max_hold_ms": 30_000}
    shop = await relayed.executor(stage, max_open_holds=2, **limits)
    chain = await relayed.chain(stage, shop=shop)
    await chain.still_relays()
    await refused(chain, "CREDIT_LIMIT", max_charge=40_000, grant=1_000)
    await refused(chain, "CREDIT_LIMIT", max_charge=40_000, grant=40_000)
    await refused(chain, "UNAGREED_LIMIT", max_charge=8_000, grant=8_000)
    await refused(chain, "DEADLINE_TOO_LONG", deadline=now_ms() + 60_000)
    passed = [await chain.order("echo", "1")]
    # Half of what is open at a time may be one upstream's share.
    second = chain.send("echo", "2")
    third = chain.send("echo", "3")
    await ordering.expect_rejected(chain.payer, third, "TOO_MANY_ORDERS", "SHARE_EXCEEDED")
    for seq in chain.below(second):
        passed.append(relayed.Passed(chain, second, seq))
    for one in passed:
        await chain.end(one)


@check("IT-RLY-010", role="executor")
async def copied(stage: Stage) -> None:
    """Digest, nonce, input, actors, policy, session and group are copied."""
    chain = await relayed.chain(stage)
    said = {"actors": ["agent:ä", "b"], "session": "s-1", "group": "g-1", "policy": {"places": []}}
    passed = await chain.order("echo", {"x": [1]}, **said)
    up, down = passed.upstream, passed.order
    for name in ("offer_digest", "nonce", "input", "policy", "session", "group"):
        same(stage, name, getattr(up, name), getattr(down, name))
    same(stage, "actors", list(up.actors), list(down.actors))
    await chain.end(passed)


@check("IT-RLY-011", role="executor")
async def same_input(stage: Stage) -> None:
    """The input's bytes come unchanged, white space and all."""
    chain = await relayed.chain(stage)
    data = b' { "b" : 1.0,\n"a":"\\u0061" , "r": ' + json.dumps(stage.random.random()).encode() + b"} "
    passed = await chain.order("echo", data)
    await chain.shop.wait(lambda: passed.seq in chain.shop.inputs, "the input beside the downstream order")
    same(stage, "the input", data, chain.shop.inputs[passed.seq])
    await chain.end(passed)


@check("IT-RLY-012", role="executor")
async def one_hop_less(stage: Stage) -> None:
    """hop_limit falls by one."""
    chain = await relayed.chain(stage)
    for limit in (1, 7):
        passed = await chain.order("echo", "x", hop_limit=limit)
        same(stage, "hop_limit", limit - 1, passed.order.hop_limit)
        await chain.end(passed)


@check("IT-RLY-013", role="executor")
async def longer_path(stage: Stage) -> None:
    """The own name is put behind the path."""
    chain = await relayed.chain(stage)
    path = ["far.example", chain.payer.me.grid]
    passed = await chain.order("echo", "x", path=path)
    same(stage, "path", [*path, stage.target.grid], list(passed.order.path))
    await chain.end(passed)


@check("IT-RLY-014", role="executor")
async def other_account(stage: Stage) -> None:
    """The account is not passed on as it came."""
    chain = await relayed.chain(stage)
    secret = f"account-{stage.random.random()}"
    passed = await chain.order("echo", "x", account=secret)
    if secret in passed.order.account:
        fail("an account that names nothing of upstream's", passed.order.account)
    stage.saw(f"the downstream account is {passed.order.account!r}")
    await chain.end(passed)


@check("IT-RLY-015", role="executor")
async def no_authority(stage: Stage) -> None:
    """Authority is not passed on."""
    chain = await relayed.chain(stage)
    passed = await chain.order("echo", "x", authority=b"a right")
    same(stage, "authority", b"", passed.order.authority)
    await chain.end(passed)


@check("IT-RLY-020", role="executor")
async def hop_id(stage: Stage) -> None:
    """The id is a UUIDv7 of the upstream entry's time, and another one for each order."""
    chain = await relayed.chain(stage)
    first = await chain.order("echo", "1")
    await asyncio.sleep(0.005)
    second = await chain.order("echo", "2")
    for passed in (first, second):
        made = passed.order.id
        if not ids.is_id(made) or made == passed.upstream.id:
            fail("a UUIDv7 of its own", made)
        at = chain.payer.logs.entry(ME, passed.above).at
        same(stage, "the time in the id", at, int(made.replace("-", "")[:12], 16))
        await chain.end(passed)
    if first.order.id == second.order.id:
        fail("an id for each order", "one id for two orders")
