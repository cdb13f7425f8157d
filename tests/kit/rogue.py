"""A peer that keeps the protocol only as far as a test wants: two logs, one session, any bytes.

`Rogue` is one side of a peering, built on the core's own `LogPair`, without the rules that an honest node keeps
for itself: it may write void entries, sign lies and answer nothing. It knows no transport: `send` takes exact
frames, `hear` is given them. Used over memory (`tests.kit.network`) and over sockets (`tests.federation.hostile`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from intertie import envelope
from intertie.agreements import VerifiedAgreement
from intertie.amounts import charge, total_to_bytes
from intertie.chain import entry_head, link_signature_bytes
from intertie.digests import multihash, salted
from intertie.errors import IntertieError
from intertie.ids import make_uuid7
from intertie.keys import PrivateKey, PublicKey
from intertie.records import prove
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.catalog_pb2 import Advertisement, CatalogRoot, OriginRoute
from intertie.v1.event_pb2 import Event, Result
from intertie.v1.record_pb2 import ExecutionRecord, RecordProof
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED
from intertie_node.core.catalog import KnownOffer, priced
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.opening import session_of
from intertie_node.core.pair import Fact, LogPair
from intertie_node.core.peering import link_terms

K = pb.EntryKind
HOUR_MS = 3_600_000


class Party(Protocol):
    """Who a rogue says it is."""

    grid: str
    fingerprint: bytes
    key: PrivateKey
    chain: list[bytes]


class Rows:
    """Keeps nothing (`pair.Keep`)."""

    def entry(self, side: int, seq: int, data: bytes, head: bytes) -> None: ...

    def signature(self, signer: int, signature: lk.HeadSignature) -> None: ...


class Rogue:
    """One side of a link that does what it is told."""

    def __init__(
        self,
        own: Party,
        their_keys: Mapping[bytes, PublicKey],
        agreement: VerifiedAgreement,
        now: Callable[[], int],
        limits: lk.Limits,
    ) -> None:
        self.own = own
        self.fingerprint = own.fingerprint
        self.limits = limits
        self.genesis = agreement.genesis
        self.now = now
        own_keys = {own.key.public.key_id: own.key.public}
        self.pair = LogPair(
            agreement.genesis,
            link_terms(agreement, own.fingerprint),
            lambda side: own_keys if side == ME else their_keys,
        )
        self.ledger = self.pair.ledger
        self.send: Callable[[bytes], None] = lambda frame: None
        self.groups: list[tuple[int, list[bytes], lk.HeadSignature]] = []
        """Everything said so far, for resending."""
        self.numbers = 0
        self.relax = False
        """True: what the node says is kept but not verified, for rogues whose own view is broken."""
        self.answers = True
        """Whether entries of the node are acknowledged."""
        self.mute = False
        """True: an Open of the node is not answered."""
        self._forget()

    def _forget(self) -> None:
        self.my_open = b""
        self.session = bytes(32)
        self.their_open: lk.Open | None = None
        self.dialled = True
        self.unsent: list[bytes] = []
        self.heard: list[lk.Frame] = []
        self.facts: list[Fact] = []
        self.inputs: dict[int, bytes] = {}
        self.events: list[Event] = []
        self.routes: dict[bytes, OriginRoute] = {}
        self.closed = ""

    def connected(self, send: Callable[[bytes], None], dialled: bool = True) -> None:
        """A new stream stands."""
        self._forget()
        self.send, self.dialled = send, dialled

    # -- opening ----------------------------------------------------------------------------------

    def make_open(self, **changes: Any) -> bytes:
        """Payload bytes of an Open."""
        mine, theirs = self.pair.logs
        self.numbers += 1
        values: dict[str, Any] = {
            "genesis": self.genesis,
            "nonce": self.numbers.to_bytes(16, "big"),
            "descriptor_version": 1,
            "agreement_version": 1,
            "limits": self.limits,
            "clock": self.now(),
            "own": lk.Cursor(seq=mine.seq, head=mine.head),
            "other": lk.Cursor(seq=theirs.seq, head=theirs.head),
            "descriptors": self.own.chain,
        }
        self.my_open = lk.Open(**{**values, **changes}).SerializeToString()
        return self.my_open

    def seal(self, payload: bytes, key: PrivateKey | None = None) -> bytes:
        """A frame with an Open of these payload bytes."""
        sealed = envelope.seal(envelope.OPEN, payload, [key or self.own.key])
        return lk.Frame(open=sealed).SerializeToString()

    def open(self, **changes: Any) -> None:
        """Say an honest Open, but for the changes."""
        self.send(self.seal(self.make_open(**changes)))

    @property
    def opened(self) -> bool:
        """Whether both Opens are known."""
        return self.their_open is not None and bool(self.my_open)

    # -- hearing ----------------------------------------------------------------------------------

    def hear(self, data: bytes) -> None:
        """Take a frame of the node."""
        frame = lk.Frame.FromString(data)
        assert len(data) <= self.limits.frame_bytes, f"a frame of {len(data)} bytes"
        self.heard.append(frame)
        if frame.HasField("close"):
            self.closed = frame.close.reason
        if frame.open:
            self._their_open(frame.open)
        if frame.HasField("signature"):
            self._take(frame)
        for item in frame.inputs:
            self.inputs[item.order_seq] = item.data
        self.events.extend(frame.events)
        for advertisement in frame.advertisements:
            if advertisement.HasField("route"):
                self.routes[advertisement.route.path[-1]] = advertisement.route

    def _their_open(self, sealed: bytes) -> None:
        payload = envelope.peek_unverified(sealed)[1]
        self.their_open = lk.Open.FromString(payload)
        if not self.dialled and not self.my_open:
            if self.mute:
                return
            self.open()
        self.session = session_of(self.dialled, self.my_open, payload)
        for first, entries, signature in self.groups:
            if signature.seq > self.their_open.other.seq:
                self.send(lk.Frame(first_seq=first, entries=entries, signature=signature).SerializeToString())

    def _take(self, frame: lk.Frame) -> None:
        try:
            self.facts += self.pair.take(THEM, frame.first_seq, frame.entries, frame.signature, Rows())
        except IntertieError:
            if not self.relax:
                raise
            return
        if frame.entries and self.answers and self.opened:
            self.say()

    def entries(self, kind: int) -> list[Fact]:
        """What the node has written of a kind in this session."""
        return [fact for fact in self.facts if fact.entry.kind == kind]

    def refused(self) -> dict[int, str]:
        """Own seq → rule by which the node has refused it."""
        return {f.entry.refuse.entry_seq: f.entry.refuse.rule for f in self.entries(K.ENTRY_KIND_REFUSE)}

    def rejected(self) -> dict[int, str]:
        """Own order seq → reason of its reject."""
        return {f.entry.reject.order_seq: f.entry.reject.problem.reason for f in self.entries(K.ENTRY_KIND_REJECT)}

    # -- saying -----------------------------------------------------------------------------------

    def write(self, kind: int, *, seen: int | None = None, at: int | None = None, **body: Any) -> int:
        """Append an entry of any kind, void ones too; it goes out with the next `say`. Returns its seq."""
        log = self.pair.logs[ME]
        entry = pb.Entry(kind=kind, **body)  # type: ignore[arg-type]
        entry.seen = self.pair.logs[THEM].seq if seen is None else seen
        entry.at = max(self.now(), log.at) if at is None else at
        return self.append(entry.SerializeToString(), entry)

    def append(self, data: bytes, entry: pb.Entry | None = None) -> int:
        """Append exact bytes, whatever they are."""
        log = self.pair.logs[ME]
        if entry is not None:
            self.ledger.apply(ME, log.seq + 1, entry)
            log.push(entry.seen, entry.at, data)
            log.seen = min(log.seen, self.pair.logs[THEM].seq)
        else:
            log.seq, log.head = log.seq + 1, entry_head(log.head, data)
            log.heads[log.seq] = log.head
        self.unsent.append(data)
        return log.seq

    def signature(self, *, total: int | None = None, key: PrivateKey | None = None, **changes: Any) -> lk.HeadSignature:
        """An honest signature over both heads, but for the changes; a lie in it is signed."""
        made = self.pair.sign(changes.pop("session", self.session), self.own.key, Rows())
        if total is None and key is None and not changes:
            return made
        for name, value in changes.items():
            setattr(made, name, value)
        if total is not None:
            made.agreed_total = total_to_bytes(total)
        stated = int.from_bytes(made.agreed_total, "big", signed=True)
        message = link_signature_bytes(
            self.genesis, made.session, made.seq, made.head, made.acked, made.acked_head, stated
        )
        del made.signatures[:]
        signer = key or self.own.key
        made.signatures.add(key_id=signer.public.key_id, value=signer.sign(message))
        return made

    def frame(self, signature: lk.HeadSignature | None = None, **fields: Any) -> lk.Frame:
        """A frame of everything written and not sent, signed."""
        first = self.pair.logs[ME].seq - len(self.unsent) + 1
        made = signature or self.signature()
        frame = lk.Frame(signature=made, **fields)
        if self.unsent:
            frame.first_seq = first
            frame.entries.extend(self.unsent)
            self.groups.append((first, self.unsent, made))
        self.unsent = []
        return frame

    def say(self, signature: lk.HeadSignature | None = None, **fields: Any) -> None:
        """Send what was written."""
        self.send(self.frame(signature, **fields).SerializeToString())

    # -- buying -----------------------------------------------------------------------------------

    def tariff_of(self, origin: bytes) -> int:
        """Seq of the tariff that prices an origin, as advertised."""
        return self.routes[origin].tariff_seq

    def order(self, offer: KnownOffer, data: bytes = b"{}", **changes: Any) -> pb.Order:
        """A sound order of one of the node's offers, but for the changes."""
        seq = changes.pop("tariff_seq", None) or self.tariff_of(offer.origin)
        self.numbers += 1
        nonce = self.numbers.to_bytes(16, "big")
        fields: dict[str, Any] = {
            "id": make_uuid7(self.now(), self.numbers.to_bytes(10, "big")),
            "offer_digest": offer.digest,
            "tariff_seq": seq,
            "max_charge": 1_000,
            "grant": 1_000,
            "deadline": self.now() + 10_000,
            "hop_limit": 4,
            "path": [self.own.grid],
            "nonce": nonce,
            "input": {"media_type": "application/json", "digest": salted(nonce, data), "size": len(data)},
        }
        made = pb.Order(**{**fields, **changes})
        if "prices" not in changes:
            for unit, num, den in priced(offer, self.ledger.tariffs[THEM][seq]) or ():
                made.prices.add(unit=unit, num=num, den=den)
        return made

    def buy(self, offer: KnownOffer, data: bytes = b"{}", **changes: Any) -> int:
        """Send an order with its input; returns its seq."""
        seq = self.write(K.ENTRY_KIND_ORDER, order=self.order(offer, data, **changes))
        self.say(inputs=[lk.OrderInput(order_seq=seq, data=data)])
        return seq

    # -- selling ----------------------------------------------------------------------------------

    def advertise(
        self, offers: Sequence[bytes], tariff_seq: int = 0, epoch: int = 1, **changes: Any
    ) -> list[Advertisement]:
        """Advertisements of own offers under a tariff, which is written if none is named."""
        if not tariff_seq:
            body = pb.Tariff(origin=self.fingerprint, markup_num=1, markup_den=1, expires_at=self.now() + HOUR_MS)
            tariff_seq = self.write(K.ENTRY_KIND_TARIFF, tariff=body)
        fields: dict[str, Any] = {
            "descriptors": self.own.chain,
            "root": self.root(offers),
            "path": [self.fingerprint],
            "path_names": [self.own.grid],
            "tariff_seq": tariff_seq,
        }
        route = OriginRoute(**{**fields, **changes})
        return [Advertisement(epoch=epoch, route=route), Advertisement(epoch=epoch, end=True)]

    def root(self, catalog: Sequence[bytes], **changes: Any) -> bytes:
        """A signed catalog root of offers."""
        fields: dict[str, Any] = {
            "origin": self.fingerprint,
            "version": 1,
            "expires_at": self.now() + HOUR_MS,
            "offers": sorted(multihash(data) for data in catalog),
        }
        payload = CatalogRoot(**{**fields, **changes}).SerializeToString()
        return envelope.seal(envelope.CATALOG_ROOT, payload, [self.own.key])

    def claim(self, order_seq: int, usage: Mapping[str, int], final: bool = True, **changes: Any) -> pb.Charge:
        """A sound charge for an order of the node, with a record that proves it, but for the changes."""
        terms = self.ledger.holds[THEM, order_seq].terms
        quantities = [usage.get(unit, 0) for unit in terms.units]
        fields: dict[str, Any] = {
            "order_seq": order_seq,
            "quantities": quantities,
            "amount": charge(terms.prices, quantities),
            "final": final,
        }
        if final:
            fields |= {"state": TASK_STATE_COMPLETED, "proof": self.proof(order_seq, usage)}
        return pb.Charge(**{**fields, **changes})

    def proof(self, order_seq: int, usage: Mapping[str, int], **changes: Any) -> RecordProof:
        """The own signed record of an order of the node, but for the changes."""
        terms = self.ledger.holds[THEM, order_seq].terms
        now = self.now()
        fields: dict[str, Any] = {
            "executor": self.fingerprint,
            "nonce": terms.nonce,
            "offer_digest": terms.offer_digest,
            "input_digest": terms.input_digest,
            "output_digest": salted(terms.nonce, b"{}"),
            "state": TASK_STATE_COMPLETED,
            "usage": [{"unit": unit, "quantity": usage[unit]} for unit in sorted(usage) if usage[unit]],
            "started_at": now,
            "ended_at": now,
        }
        key = changes.pop("key", self.own.key)
        record = ExecutionRecord(**{**fields, **changes})
        return prove([record.SerializeToString()], record.executor, now, key)[0]

    def result(self, order_seq: int, data: bytes = b"{}", number: int = 1) -> Event:
        """The last event of an order of the node."""
        body = Result(state=TASK_STATE_COMPLETED, output={"media_type": "application/json", "data": data})
        return Event(order_seq=order_seq, number=number, at=self.now(), result=body)
