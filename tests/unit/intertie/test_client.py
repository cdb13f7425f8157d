"""Client: streams of events, catalog and account against a scripted node (real sockets)."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import grpc
import pytest
from tests.unit.intertie.scripted_node import (
    Node,
    chunk,
    ended,
    forever,
    outcome,
    progress,
    refused,
    serving,
    working,
)

from intertie.client import (
    Chunk,
    Ended,
    Gap,
    InputRequested,
    InvocationError,
    OfferListed,
    OfferRemoved,
    Progress,
    StateChanged,
    Synced,
    new_id,
)
from intertie.ids import parse_uuid7
from intertie.v1 import account_pb2 as account_pb
from intertie.v1 import catalog_pb2 as catalog_pb
from intertie.v1 import invocation_pb2 as pb
from intertie.v1.event_pb2 import Event, InputRequest
from intertie.v1.event_pb2 import Gap as GapMessage
from intertie.v1.invocation_pb2 import InvocationEvent


def invoke_response(event: InvocationEvent) -> pb.InvokeResponse:
    return pb.InvokeResponse(event=event)


async def test_invoke_yields_typed_events() -> None:
    async def invoke(request: pb.InvokeRequest, context: Any) -> Any:
        id = request.invocation.id
        ask = InputRequest(request=1, prompt="Who?", schema=b"{}")
        for event in (
            working(id, 1),
            progress(id, 4),
            InvocationEvent(id=id, event=Event(number=2, input_request=ask)),
            InvocationEvent(id=id, event=Event(number=3)),
            InvocationEvent(id=id),
            chunk(id, 4, b"tide"),
            ended(id, b""),
            chunk(id, 5, b"after the end"),
        ):
            yield invoke_response(event)

    async with serving(Node(Invoke=invoke)) as client:
        items = [item async for item in client.invoke("echo", max_charge=5)]
    assert items[:4] == [
        StateChanged(1, 0, "WORKING"),
        Progress(0, 4, 10, ""),
        InputRequested(2, 0, 1, "Who?", b"{}"),
        Chunk(4, 0, b"tide", ""),
    ]
    assert isinstance(items[4], Ended) and items[4].result.state == "COMPLETED" and len(items) == 5


async def test_invoke_resumes_without_loss_or_double() -> None:
    async def invoke(request: pb.InvokeRequest, context: Any) -> Any:
        if len(node.requests) == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "before anything")
        for number in (1, 2):
            yield invoke_response(chunk(request.invocation.id, number, b"%d" % number))
        await context.abort(grpc.StatusCode.UNAVAILABLE, "halfway")

    async def subscribe(request: pb.SubscribeRequest, context: Any) -> Any:
        for number in range(request.after_seq, request.after_seq + 3):
            yield pb.SubscribeResponse(event=chunk(request.id, number, b"%d" % number))
        if request.after_seq > 2:
            yield pb.SubscribeResponse(event=ended(request.id))

    node = Node(Invoke=invoke, Subscribe=subscribe)
    async with serving(node) as client:
        items = [item async for item in client.invoke("echo", max_charge=5)]
    assert [item.data for item in items if isinstance(item, Chunk)] == [b"1", b"2", b"3", b"4", b"5", b"6"]
    first, second, *resumed = node.requests
    assert first == second and {request.id for request in resumed} == {first.invocation.id}
    assert [request.after_seq for request in resumed] == [2, 4]


async def test_a_stated_gap_is_told_and_an_unstated_one_is_an_error() -> None:
    async def subscribe(request: pb.SubscribeRequest, context: Any) -> Any:
        gap = GapMessage(first=1, last=3, problem=refused("EVENTS_GONE", first="1", last="3"))
        yield pb.SubscribeResponse(event=InvocationEvent(id=request.id, event=Event(gap=gap)))
        yield pb.SubscribeResponse(event=chunk(request.id, 4, b"4"))
        yield pb.SubscribeResponse(event=chunk(request.id, 7, b"7"))

    async with serving(Node(Subscribe=subscribe)) as client:
        items = client.subscribe(new_id())
        gap, four = await anext(items), await anext(items)
        assert isinstance(gap, Gap) and (gap.first, gap.last, gap.error.reason) == (1, 3, "EVENTS_GONE")
        assert isinstance(four, Chunk)
        with pytest.raises(InvocationError, match="EVENTS_GONE") as caught:
            await anext(items)
    assert caught.value.metadata == {"first": "5", "last": "6"}


async def test_a_gap_of_unknown_length_is_told_once_before_the_end() -> None:
    """Its `last` is 0: who ran the invocation has forgotten it (IT-INV-075)."""

    async def subscribe(request: pb.SubscribeRequest, context: Any) -> Any:
        gap = GapMessage(first=request.after_seq + 1, problem=refused("EVENTS_GONE"))
        for _ in range(2):
            yield pb.SubscribeResponse(event=InvocationEvent(id=request.id, event=Event(gap=gap)))
        yield pb.SubscribeResponse(event=InvocationEvent(id=request.id, outcome=outcome(request.id)))

    async with serving(Node(Subscribe=subscribe)) as client:
        gap, end = [item async for item in client.subscribe(new_id(), after_seq=4)]
    assert isinstance(gap, Gap) and (gap.first, gap.last, gap.error.reason) == (5, 0, "EVENTS_GONE")
    assert isinstance(end, Ended)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (InvocationEvent(id="another"), "FRAME_MALFORMED"),
        (InvocationEvent(id="?", outcome=outcome("another")), "FRAME_MALFORMED"),
        (InvocationEvent(id="?", refused=refused("NOT_FOUND")), "NOT_FOUND"),
        (InvocationEvent(id="?", event=Event(gap=GapMessage(first=3, last=2))), "FRAME_MALFORMED"),
        (InvocationEvent(id="?", event=Event(gap=GapMessage())), "FRAME_MALFORMED"),
    ],
)
async def test_hostile_events_are_named(event: InvocationEvent, reason: str) -> None:
    async def subscribe(request: pb.SubscribeRequest, context: Any) -> Any:
        event.id = request.id if event.id == "?" else event.id
        yield pb.SubscribeResponse(event=event)

    async with serving(Node(Subscribe=subscribe)) as client:
        with pytest.raises(InvocationError, match=reason):
            await anext(client.subscribe(new_id()))


async def test_leaving_an_invocation_stops_it_and_leaving_a_subscription_does_not() -> None:
    async def events(request: Any, context: Any) -> Any:
        id = request.invocation.id if isinstance(request, pb.InvokeRequest) else request.id
        kind = pb.InvokeResponse if isinstance(request, pb.InvokeRequest) else pb.SubscribeResponse
        yield kind(event=chunk(id, 1, b"1"))
        await forever()

    async def cancel(request: pb.CancelRequest, context: Any) -> pb.CancelResponse:
        return pb.CancelResponse()

    node = Node(Invoke=events, Subscribe=events, Cancel=cancel)
    async with serving(node) as client:
        for items in (client.subscribe(new_id()), client.invoke("echo", max_charge=1)):
            await anext(items)
            await items.aclose()
    assert [type(request) for request in node.requests] == [pb.SubscribeRequest, pb.InvokeRequest, pb.CancelRequest]
    assert node.requests[2].id == node.requests[1].invocation.id


async def test_lists_are_read_page_by_page() -> None:
    async def search(request: catalog_pb.SearchRequest, context: Any) -> catalog_pb.SearchResponse:
        page = int(request.page_token or 0)
        offers = [catalog_pb.ListedOffer(ref=f"g/{page}-{n}") for n in range(2)]
        return catalog_pb.SearchResponse(offers=offers, next_page_token=str(page + 1) if page < 2 else "")

    node = Node(Search=search)
    async with serving(node) as client:
        found = client.search("tide", kind="tool", unit="rag.query", max_price=9, places=["DE"], origin="g")
        refs = [offer.ref async for offer in found]
    assert refs == ["g/0-0", "g/0-1", "g/1-0", "g/1-1", "g/2-0", "g/2-1"]
    sent = node.requests[0]
    assert (sent.text, sent.kind, sent.unit, sent.max_price, sent.origin) == ("tide", 2, "rag.query", 9, "g")
    assert list(sent.policy.places) == ["DE"]


async def test_the_watch_tells_what_went_while_it_was_broken() -> None:
    async def watch(request: Any, context: Any) -> Any:
        for ref in ("g/a", "g/b") if len(node.requests) == 1 else ("g/b", "g/c"):
            yield catalog_pb.WatchResponse(upsert=catalog_pb.ListedOffer(ref=ref))
        yield catalog_pb.WatchResponse(synced=True)
        if len(node.requests) > 1:
            yield catalog_pb.WatchResponse(removed="g/c")
            yield catalog_pb.WatchResponse(removed="g/unknown")
            await forever()

    node, told = Node(Watch=watch), []
    async with serving(node) as client:
        async for change in client.watch():
            if isinstance(change, OfferListed):
                told.append(f"+{change.offer.ref}")
            elif isinstance(change, OfferRemoved):
                told.append(f"-{change.ref}")
            else:
                assert isinstance(change, Synced)
                told.append("=")
            if told[-1] == "-g/c":
                break
    assert told == ["+g/a", "+g/b", "=", "+g/b", "+g/c", "-g/a", "=", "-g/c"]


async def test_the_small_methods_ask_what_they_say() -> None:
    async def answer(request: Any, context: Any) -> Any:
        return {
            "SendInputRequest": pb.SendInputResponse(),
            "CancelRequest": pb.CancelResponse(status=pb.InvocationStatus(id="1")),
            "InvocationServiceGetRequest": pb.InvocationServiceGetResponse(status=pb.InvocationStatus(id="2")),
            "ListRequest": pb.ListResponse(invocations=[pb.InvocationStatus(id="3")]),
            "ListChargesRequest": account_pb.ListChargesResponse(charges=[account_pb.AccountCharge(id="4")]),
            "CatalogServiceGetRequest": catalog_pb.CatalogServiceGetResponse(offer=catalog_pb.ListedOffer(ref="5")),
        }[type(request).__name__]

    async def get(request: Any, context: Any) -> Any:
        return await answer(request, context)

    node = Node(SendInput=answer, Cancel=answer, Get=get, List=answer, ListCharges=answer)
    async with serving(node) as client:
        await client.send_input("i", 2, {"name": "x"})
        assert (await client.cancel("i", "enough")).id == "1"
        assert (await client.get("i")).id == "2"
        assert [status.id async for status in client.list("WORKING", "FAILED")] == ["3"]
        assert [charge.id async for charge in client.charges()] == ["4"]
        assert (await client.get_offer("g/5")).ref == "5"
    reply = node.requests[0].reply
    assert (reply.request, reply.payload.data) == (2, b'{"name":"x"}') and parse_uuid7(reply.id)
    assert list(node.requests[3].states) == [2, 6]


def test_the_rest_of_the_package_imports_without_grpc() -> None:
    script = """
import importlib, pkgutil, sys, intertie
for module in pkgutil.iter_modules(intertie.__path__):
    if module.name not in ("client", "grpc_status", "v1"):
        importlib.import_module("intertie." + module.name)
sys.exit("grpc" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
