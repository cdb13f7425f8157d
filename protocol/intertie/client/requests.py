"""What a consumer asks for, built and checked before it is sent (design §5 rule 4)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Required, TypedDict, Unpack

import msgspec
import uuid_utils

from intertie.amounts import check_amount
from intertie.errors import IntertieError
from intertie.ids import parse_uuid7
from intertie.paging import PAGE_SIZE
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
    `media_type` says otherwise, e.g. that bytes are JSON already. Raises INPUT_INVALID if there is no JSON for it:
    a type that has none, NaN, an infinity, or what is nested too deeply.
    """
    if isinstance(value, bytes):
        return Payload(media_type=media_type or "application/octet-stream", data=value)
    try:
        if isinstance(value, str):
            return Payload(media_type=media_type or "text/plain; charset=utf-8", data=value.encode())
        return Payload(media_type=media_type or JSON, data=_to_json(value))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise IntertieError("INPUT_INVALID", f"The input cannot be sent: {error}") from None


def _to_json(value: Any) -> bytes:
    """Encode `value`. Raises: ValueError for NaN and infinities, which msgspec writes as null, and as `_encode`."""
    data = _encode(value)
    if b"null" in data:  # seldom so: the slower encoder, which refuses them, has to look
        json.dumps(msgspec.to_builtins(value, str_keys=True), allow_nan=False)
    return data


def check_number(number: int, field: str) -> int:
    """Return `number` if it can be that of an event or of a request, 0 to 2^63 - 1; raises INVALID_ARGUMENT."""
    if not 0 <= number < 1 << 63:
        raise IntertieError("INVALID_ARGUMENT", f"{number} is no number of an event or request.", field=field)
    return number


def check_size(size: int) -> int:
    """Return `size` if a page can have that many items, 1 to 100; raises INVALID_ARGUMENT."""
    if not 1 <= size <= PAGE_SIZE:
        raise IntertieError("INVALID_ARGUMENT", f"A page has 1 to {PAGE_SIZE} items, not {size}.", field="size")
    return size


def check_choice(word: str, numbers: Mapping[str, int], prefix: str, field: str) -> int:
    """Return the enum's number of `word`, whose full name is among `numbers`; raises INVALID_ARGUMENT."""
    name = f"{prefix}{str(word).upper()}"
    if name not in numbers or not numbers[name]:
        known = ", ".join(each.removeprefix(prefix) for each, number in numbers.items() if number)
        raise IntertieError("INVALID_ARGUMENT", f"{field} is {str(word)[:80]!r}, not one of {known}.", field=field)
    return numbers[name]


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


_OPTIONS: Final = InvocationOptions.__required_keys__ | InvocationOptions.__optional_keys__


def make_invocation(offer: str | ListedOffer, input: Any = None, /, **options: Unpack[InvocationOptions]) -> Invocation:
    """Return the invocation of `offer` ("grid/name" or what a search gave) with `input`.

    No input means an empty JSON object. Raises AMOUNT_INVALID, ID_INVALID, INPUT_INVALID or INVALID_ARGUMENT, and
    TypeError for an option that there is not, or without `max_charge`.
    """
    if len(options) > 1 or "max_charge" not in options:
        _check_names(options)
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


def _check_names(options: Mapping[str, object]) -> None:
    """Raise TypeError, as a call with named arguments does: a misspelt option must not be ignored."""
    for name in options:
        if name not in _OPTIONS:
            raise TypeError(f"There is no option {name!r}; there are {', '.join(sorted(_OPTIONS))}.")
    if "max_charge" not in options:
        raise TypeError("The option 'max_charge' is missing: the most that may be charged, in minor units.")


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
