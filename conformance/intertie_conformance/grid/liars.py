"""Three liars: targets that must not get a PASS that they have not earned."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from intertie.v1 import directory_pb2 as dr
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.envelope_pb2 import Envelope
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.grid.invocations import Account, Run
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.node import Grid
from intertie_conformance.grid.rules import Rules
from intertie_conformance.grid.streams import GrpcStream
from intertie_conformance.wire.amounts import Price
from intertie_conformance.wire.keys import PublicKeys
from intertie_conformance.wire.refusal import Refusal


class Closer(Grid):
    """Closes every stream without a word."""

    def dials(self, link: Link) -> bool:
        """Never."""
        return False

    def accepted(self, fingerprint: bytes, stream: GrpcStream, data: bytes) -> None:
        """Hang up."""
        stream.close()

    def consumer_asks(self) -> None:
        """Nothing is answered."""
        raise ConnectionError


class Refuser(Grid):
    """Answers everything with an error, the one that fits most places."""

    def dials(self, link: Link) -> bool:
        """Never."""
        return False

    def accepted(self, fingerprint: bytes, stream: GrpcStream, data: bytes) -> None:
        """Refuse."""
        refusal = Refusal("FRAME_MALFORMED", "No.")
        stream.send(lk.Frame(close=refusal.problem()).SerializeToString())
        stream.close()

    def consumer_asks(self) -> None:
        """Refuse."""
        raise Refusal("NOT_FOUND", "No.")


class _Yes(Rules):
    """Refuses nothing: whatever raises or names a reason in the honest rules is silent here."""

    def open_payload(self, payload: bytes) -> lk.Open:
        """Whatever does not decode is an empty Open."""
        try:
            return super().open_payload(payload)
        except Refusal:
            return lk.Open()

    def frame_payload(self, data: bytes) -> lk.Frame:
        """Whatever does not decode is an empty frame."""
        try:
            return super().frame_payload(data)
        except Refusal:
            return lk.Frame()

    def entry_payload(self, data: bytes) -> pb.Entry:
        """Whatever does not decode is an entry of no kind."""
        try:
            return super().entry_payload(data)
        except Refusal:
            return pb.Entry()

    def priced(self, offer: Offered, tariff: pb.Tariff) -> list[Price] | None:
        """A price, whatever it is worth."""
        lines = super().priced(offer, tariff)
        return offer.prices if lines is None else lines

    def refuses_void(self, reason: str) -> str | None:
        """Nothing is refused."""
        return None

    def caller(self, metadata: Mapping[str, str], accounts: Mapping[str, Account]) -> Account:
        """Whoever calls."""
        return next(iter(accounts.values()))

    def known(self, account: Account, id: str, runs: Mapping[tuple[str, str], Run]) -> Run | None:
        """An invocation of anybody."""
        return next((run for (_, name), run in runs.items() if name == id), None)

    def open_signed(self, sealed: bytes, keys: PublicKeys) -> bytes:
        """Whoever has signed."""
        return Envelope.FromString(sealed).payload

    def link_named(self, opened: lk.Open, fingerprint: bytes, links: Mapping[bytes, Link]) -> Link:
        """The caller's link, whatever the Open names."""
        return next(link for link in links.values() if link.peer.fingerprint == fingerprint)


KEPT: Final = frozenset({"open_payload", "open_signed", "frame_payload", "entry_payload", "link_named"})
"""Rules of the yes-sayer that are written out above."""


def _silent(_: Any, *__: Any, **___: Any) -> None:
    return None


def _silence(rules: type[Rules], lies: Mapping[str, Any]) -> Callable[[], Rules]:
    """Make every rule that only refuses silent; `lies` are further rules, by name, that say yes."""
    made: dict[str, Any] = dict(lies)
    for name, rule in inspect.getmembers(Rules, inspect.isfunction):
        source = inspect.getsource(rule)
        returns = inspect.signature(rule, eval_str=False).return_annotation
        if name not in KEPT and returns == "None" and "raise " in source:
            made.setdefault(name, _silent)
    return type("Yes", (rules,), made)


class YesSayer(Grid):
    """Says yes to everything, to proposals that it cannot read as well."""

    def __init__(self, name: str, lies: Mapping[str, Any]) -> None:
        super().__init__(name, _silence(_Yes, lies)())

    def proposed(self, request: dr.ProposeRequest) -> dr.ProposeResponse:
        """Accepted."""
        try:
            return super().proposed(request)
        except Refusal:
            return dr.ProposeResponse(state=dr.PROPOSAL_STATE_ACCEPTED, agreement=request.agreement)


LIARS: Final[Mapping[str, Callable[[str, Mapping[str, Any]], Grid]]] = {
    "closes every stream": lambda name, _: Closer(name),
    "answers everything with an error": lambda name, _: Refuser(name),
    "says yes to everything": YesSayer,
}
