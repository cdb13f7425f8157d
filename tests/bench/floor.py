"""What a paid call over a link costs with no node around it: its messages made, read, hashed, signed and stored.

A consumer, a payer and a provider take turns in one process, in batches, through the same library calls that any node
in this language has to make: RFC 0003 (frames, entries, signatures), 0008 (inputs), 0009 (outcomes), 0010 (records).
Nothing is judged, looked up, limited or sent, so no node on these libraries comes near it. It bounds what can be asked
of the reference node on a machine.

    python floor.py FOLDER SECONDS      says {"cpu_ms": …}: the median over the batches, per call
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Final

from load import INPUT

from intertie import chain
from intertie.amounts import total_to_bytes
from intertie.digests import multihash, salted
from intertie.envelope import peek_unverified
from intertie.ids import make_uuid7
from intertie.keys import PrivateKey
from intertie.merkle import Prover
from intertie.records import prove
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import invocation_pb2 as iv
from intertie.v1 import link_pb2 as lk
from intertie.v1.event_pb2 import Event
from intertie.v1.metering_pb2 import PriceLine
from intertie.v1.record_pb2 import ExecutionRecord, RecordRoot
from intertie.v1.task_pb2 import HOLD_STATE_CHARGED, TASK_STATE_COMPLETED
from intertie_node.adapters.storage.sqlite import SqliteStore
from intertie_node.core.effects import Changes

LINK: Final = sha256(b"link").hexdigest()
FINGERPRINT: Final = multihash(b"fingerprint")
OFFER: Final = multihash(b"offer")
MEDIA: Final = "application/json"
UNIT: Final = "conformance.call"
DURATION_MS: Final = 60_000
BATCH: Final = 256


class Log:
    """One side's log with the key that signs it."""

    def __init__(self) -> None:
        self.key = PrivateKey.from_seed(os.urandom(32))
        self.seq = 0
        self.head = bytes(32)

    def push(self, entry: bytes) -> int:
        """Append an entry; returns its seq."""
        self.seq, self.head = self.seq + 1, chain.entry_head(self.head, entry)
        return self.seq


class Side:
    """One node: what it stores of both logs."""

    def __init__(self, file: Path, own: Log, other: Log) -> None:
        self.store = SqliteStore(file)
        self.own = own
        self.other = other
        self.changes = Changes()
        self._read = (0, bytes(32))
        """Seq and head of the other log as far as it was read."""

    def append(self, entry: pb.Entry) -> tuple[int, bytes]:
        """Append an own entry; returns its seq and exact bytes."""
        data = entry.SerializeToString(deterministic=True)
        seq = self.own.push(data)
        self.changes.append("entries", (LINK, 0, seq, data, self.own.head))
        return seq, data

    def frame(self, entries: list[bytes], inputs: list[bytes], events: list[Event]) -> bytes:
        """Entries in a signed frame, with what travels beside them."""
        own, (acked, acked_head) = self.own, self._read
        message = chain.link_signature_bytes(bytes(32), bytes(32), own.seq, own.head, acked, acked_head, own.seq)
        signature = lk.HeadSignature(
            seq=own.seq, head=own.head, acked=acked, acked_head=acked_head, agreed_total=total_to_bytes(own.seq)
        )
        signature.signatures.add(key_id=own.key.public.key_id, value=own.key.sign(message))
        first = own.seq + 1 - len(entries)
        frame = lk.Frame(first_seq=first, entries=entries, events=events, signature=signature)
        for seq, data in enumerate(inputs, first):
            frame.inputs.add(order_seq=seq, data=data)
        self.changes.append("signatures", (LINK, 0, own.seq, acked, signature.SerializeToString()))
        return frame.SerializeToString()

    def read(self, data: bytes) -> tuple[lk.Frame, list[pb.Entry]]:
        """A frame of the other side, its chain and its signature verified, and its entries."""
        frame = lk.Frame.FromString(data)
        (seq, head), entries = self._read, []
        for exact in frame.entries[:]:
            head, seq = chain.entry_head(head, exact), seq + 1
            self.changes.append("entries", (LINK, 1, seq, exact, head))
            entries.append(pb.Entry.FromString(exact))
        signed = frame.signature
        message = chain.link_signature_bytes(
            bytes(32), bytes(32), signed.seq, signed.head, signed.acked, signed.acked_head, signed.seq
        )
        assert signed.head == head, "the log does not link"
        assert self.other.key.public.verify(signed.signatures[0].value, message), "the signature is wrong"
        self._read = seq, head
        self.changes.append("signatures", (LINK, 1, seq, signed.acked, signed.SerializeToString()))
        return frame, entries

    def invocation(self, key: str, record: bytes, outcome: bytes) -> None:
        """An invocation's row, as it stands."""
        row = (key, "bench", b"", "offer", 4, 0, 0, int(not outcome), record, outcome)
        self.changes.put("invocations", (key,), row)

    def settle(self, payer: int, seq: int, invocation: str, debit: str, credit: str) -> None:
        """The rows of a hold that has ended and of what was charged for it."""
        self.changes.put("holds", (LINK, payer, seq), (LINK, payer, seq, 0, bytes(40)))
        self.changes.append("transfers", (f"{debit}/{LINK}", f"{credit}/{LINK}", 1, "XTS", 0, LINK, 0, seq, invocation))

    def commit(self) -> None:
        """Make everything durable."""
        self.store.commit(self.changes)
        self.changes = Changes()


class Floor:
    """Both nodes and their consumer."""

    def __init__(self, folder: Path, data: bytes) -> None:
        mine, theirs = Log(), Log()
        self.payer = Side(folder / "payer.sqlite3", mine, theirs)
        self.provider = Side(folder / "provider.sqlite3", theirs, mine)
        self._data = data
        self._alike = pb.Order(offer_digest=OFFER, tariff_seq=1, prices=[PriceLine(unit=UNIT, num=1, den=1)])
        self._orders: list[tuple[int, pb.Order]] = []
        """Of the batch: seq and order, as both sides keep them while it is open."""

    def calls(self, count: int) -> int:
        """Take so many calls from their invocation to their outcome; returns what they have cost, minor units."""
        ordered = self._order(self._invoke(count))
        self.payer.commit()
        admitted = self._admit(ordered)
        self.provider.commit()
        charged = self._work(admitted)
        self.provider.commit()
        told = self._conclude(charged)
        self.payer.commit()
        return sum(item.outcome.receipt.charge for item in iv.StreamResponse.FromString(told).events)

    def _invoke(self, count: int) -> bytes:
        frame = iv.StreamRequest()
        for _ in range(count):
            id = make_uuid7(time.time_ns() // 1_000_000, os.urandom(10))
            made = frame.invocations.add(id=id, offer="south.example/echo", max_charge=1_000)
            made.input.media_type, made.input.data = MEDIA, self._data
        return frame.SerializeToString()

    def _order(self, request: bytes) -> bytes:
        now = time.time_ns() // 1_000_000
        self._orders, entries, inputs = [], [], []
        for wanted in iv.StreamRequest.FromString(request).invocations:
            digest, data = sha256(wanted.SerializeToString()).digest(), wanted.input.data
            entry = pb.Entry(kind=pb.ENTRY_KIND_ORDER, at=now)
            order = entry.order
            order.CopyFrom(self._alike)
            order.id, order.nonce, order.account = wanted.id, digest[:16], "account"
            order.max_charge = order.grant = wanted.max_charge
            order.deadline, order.hop_limit = now + DURATION_MS, 8
            order.path.append("north.example")
            payload = order.input
            payload.media_type, payload.digest, payload.size = MEDIA, salted(order.nonce, data), len(data)
            seq, exact = self.payer.append(entry)
            entries.append(exact)
            inputs.append(data)
            self._orders.append((seq, order))
            self.payer.invocation(wanted.id, wanted.SerializeToString(), b"")
        return self.payer.frame(entries, inputs, [])

    def _admit(self, data: bytes) -> list[tuple[pb.Order, bytes]]:
        frame, entries = self.provider.read(data)
        admitted = []
        for entry, beside in zip(entries, frame.inputs, strict=True):
            order, given = entry.order, beside.data
            assert salted(order.nonce, given) == order.input.digest, "the input is another one"
            self.provider.invocation(f"{LINK}:{beside.order_seq}", entry.SerializeToString(), b"")
            admitted.append((order, given))
        return admitted

    def _work(self, admitted: list[tuple[pb.Order, bytes]]) -> bytes:
        now, side = time.time_ns() // 1_000_000, self.provider
        records, entries, events = [], [], []
        for order, given in admitted:
            record = ExecutionRecord(executor=FINGERPRINT, nonce=order.nonce, offer_digest=OFFER)
            record.input_digest, record.output_digest = order.input.digest, salted(order.nonce, given)
            record.state, record.started_at, record.ended_at = TASK_STATE_COMPLETED, now, now
            record.usage.add(unit=UNIT, quantity=1)
            records.append(record.SerializeToString(deterministic=True))
        proofs = prove(records, FINGERPRINT, now, side.own.key)
        for (seq, order), (_, given), proof in zip(self._orders, admitted, proofs, strict=True):
            entry = pb.Entry(kind=pb.ENTRY_KIND_CHARGE, seen=seq, at=now)
            charge = entry.charge
            charge.order_seq, charge.amount, charge.final, charge.state = seq, 1, True, TASK_STATE_COMPLETED
            charge.quantities.append(1)
            charge.proof.CopyFrom(proof)
            entries.append(side.append(entry)[1])
            event = Event(order_seq=seq, number=1, at=now)
            event.result.state, event.result.output.media_type, event.result.output.data = charge.state, MEDIA, given
            events.append(event)
            key = f"{LINK}:{seq}"
            side.changes.append("events", (key, 1, event.SerializeToString()))
            side.invocation(key, order.SerializeToString(), b"ended")
            side.settle(1, seq, key, "receivable", "revenue")
        return side.frame(entries, [], events)

    def _conclude(self, data: bytes) -> bytes:
        frame, entries = self.payer.read(data)
        told, prover = iv.StreamResponse(), None
        for (seq, order), entry, event in zip(self._orders, entries, frame.events, strict=True):
            charge, proof = entry.charge, entry.charge.proof
            prover = prover or Prover(*_root_of(proof.root))
            assert prover.proves(proof.record, proof.index, proof.path), "the record is not proven"
            record = ExecutionRecord.FromString(proof.record)
            item = told.events.add(id=order.id)
            outcome = item.outcome
            outcome.id, outcome.state = order.id, charge.state
            outcome.output.CopyFrom(event.result.output)
            receipt = outcome.receipt
            receipt.charge, receipt.asset, receipt.executed_by = charge.amount, "XTS", "south.example"
            receipt.usage.extend(record.usage)
            receipt.path.extend(("north.example", "south.example"))
            receipt.proof.CopyFrom(proof)
            receipt.hold = HOLD_STATE_CHARGED
            self.payer.invocation(order.id, order.SerializeToString(), outcome.SerializeToString())
            self.payer.settle(0, seq, order.id, "cost", "payable")
        return told.SerializeToString()


def _root_of(sealed: bytes) -> tuple[bytes, int]:
    root = RecordRoot.FromString(peek_unverified(sealed)[1])
    return root.root, root.size


def main() -> None:
    """Take batches of calls for a while and say what one took."""
    folder, until = Path(sys.argv[1]), time.perf_counter() + float(sys.argv[2])
    floor, found = Floor(folder, INPUT), list[float]()
    while time.perf_counter() < until or not found:
        began = time.process_time()
        charged = floor.calls(BATCH)
        found.append((time.process_time() - began) * 1e3 / BATCH)
        assert charged == BATCH, f"{BATCH} calls have cost {charged}"
    print(json.dumps({"cpu_ms": statistics.median(found)}), flush=True)


if __name__ == "__main__":
    main()
