"""What scripted providers have in common: a port of their own, and records that prove what they claim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from intertie.v1 import entry_pb2 as pb
from intertie.v1.metering_pb2 import ENERGY_METHOD_UNKNOWN, Energy, UsageLine
from intertie.v1.record_pb2 import ExecutionRecord, RecordProof
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED
from intertie_conformance.grid.identity import Identity, now_ms
from intertie_conformance.grid.ports import Credentials, PeerFace, PeerSide, serve
from intertie_conformance.wire import records
from intertie_conformance.wire.keys import Key


async def listen(me: Identity, side: PeerSide, face: PeerFace, host: str) -> grpc.aio.Server:
    """Serve a peer port on a free address, and put that into the own descriptor."""
    credentials = Credentials(me, side.admitted)
    server, port = await serve(
        f"{host}:0", credentials.server(), lambda s: s.add_generic_rpc_handlers((face.handler(),))
    )
    me.describe(peer_address=f"{host}:{port}")
    return server


def record(me: Identity, order: pb.Order, used: Mapping[str, int], **changes: Any) -> ExecutionRecord:
    """An honest record of an order, but for the changes."""
    now = now_ms()
    fields: dict[str, Any] = {
        "executor": me.fingerprint,
        "nonce": order.nonce,
        "offer_digest": order.offer_digest,
        "input_digest": order.input.digest,
        "state": TASK_STATE_COMPLETED,
        "usage": [UsageLine(unit=unit, quantity=used[unit]) for unit in sorted(used) if used[unit]],
        "energy": Energy(method=ENERGY_METHOD_UNKNOWN),
        "started_at": now,
        "ended_at": now,
    }
    return ExecutionRecord(**{**fields, **changes})


def prove(made: bytes | ExecutionRecord, by: Identity, key: Key | None = None, executor: bytes = b"") -> RecordProof:
    """The proof of one record under a root of its own, which `by` has signed, in its own name if no other is given."""
    data = made if isinstance(made, bytes) else made.SerializeToString(deterministic=True)
    return records.prove([data], executor or by.fingerprint, now_ms(), key or by.key)[0]
