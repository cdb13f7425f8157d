"""What a consumer asks for, built and checked before it is sent (design §5 rule 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Required, TypedDict, Unpack

import msgspec
import uuid_utils

from intertie.amounts import check_amount
from intertie.errors import IntertieError
from intertie.ids import parse_uuid7
from intertie.v1.catalog_pb2 import ListedOffer
from intertie.v1.envelope_pb2 import Payload
from intertie.v1.invocation_pb2 import Invocation

DEFAULT_TIMEOUT_S: Final = 60.0
MAX_TIMEOUT_S: Final = 366 * 86_400.0
JSON: Final = "application/json"
_encode: Final = msgspec.json.Encoder().encode


def new_id() -> str:
    """Return a new UUIDv7 in text form."""
    return str(uuid_utils.uuid7())


def make_payload(value: Any, media_type: str | None = None) -> Payload:
    """Return `value` as a payload.

    bytes are taken as they are (application/octet-stream), str as UTF-8 (text/plain), anything else as JSON;
    `media_type` says otherwise, e.g. that bytes are JSON already. Raises INPUT_INVALID if there is no JSON for it.
    """
    if isinstance(value, bytes):
        return Payload(media_type=media_type or "application/octet-stream", data=value)
    try:
        if isinstance(value, str):
            return Payload(media_type=media_type or "text/plain; charset=utf-8", data=value.encode())
        return Payload(media_type=media_type or JSON, data=_encode(value))
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise IntertieError("INPUT_INVALID", f"The input cannot be sent: {error}") from None


class InvocationOptions(TypedDict, total=False):
    """How an invocation is to be done; only `max_charge` must be given."""

    max_charge: Required[int]
    """Most that may be charged: minor units of the account's asset."""
    timeout: float
    """Seconds allowed from arrival at the node, counted in milliseconds; 60 if not given."""
    id: str | None
    """A UUIDv7 (`new_id()`) that the caller has kept, so that the same invocation can be asked for again."""
    first_grant: int
    """How much of it may be charged at first, minor units; 0 for all. The node raises it as charges come in."""
    places: Sequence[str]
    """ISO 3166 codes of places where the work may be done; empty for anywhere."""
    session: str
    """Opaque: the caller's session."""
    group: str
    """Opaque: the caller's group of invocations."""
    media_type: str | None
    """What the input's bytes are, if not what `make_payload` assumes."""
    traceparent: str
    """W3C trace context; does not change what is asked for."""


def make_invocation(offer: str | ListedOffer, input: Any = None, /, **options: Unpack[InvocationOptions]) -> Invocation:
    """Return the invocation of `offer` ("grid/name" or what a search gave) with `input`.

    No input means an empty JSON object. Raises AMOUNT_INVALID, ID_INVALID, INPUT_INVALID or INVALID_ARGUMENT.
    """
    timeout, id = options.get("timeout", DEFAULT_TIMEOUT_S), options.get("id")
    if not 0.001 <= timeout <= MAX_TIMEOUT_S:
        raise IntertieError("INVALID_ARGUMENT", f"A timeout of {timeout} seconds is out of range.", field="timeout")
    if id is not None:
        parse_uuid7(id)
    invocation = Invocation(
        id=id or new_id(),
        offer=offer if isinstance(offer, str) else offer.ref,
        max_charge=check_amount(options["max_charge"]),
        timeout_ms=int(timeout * 1000),
    )
    invocation.input.MergeFrom(make_payload({} if input is None else input, options.get("media_type")))
    if len(options) > 1:
        _add_options(invocation, options)
    return invocation


def _add_options(invocation: Invocation, options: InvocationOptions) -> None:
    """Add what few invocations have."""
    if first_grant := options.get("first_grant", 0):
        if check_amount(first_grant) > invocation.max_charge:
            raise IntertieError("AMOUNT_INVALID", "A first grant may not exceed the maximum charge.")
        invocation.first_grant = first_grant
    if places := options.get("places"):
        invocation.policy.places.extend(places)
    invocation.session = options.get("session", "")
    invocation.group = options.get("group", "")
    invocation.traceparent = options.get("traceparent", "")
