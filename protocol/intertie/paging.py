"""Lists that are answered in pages (RFC 0008, section 3.10; RFC 0009, section 3.14)."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

import msgspec

T = TypeVar("T")
PAGE_SIZE: Final = 100
"""Most items of a page."""
_MAX_PAGES: Final = 100_000


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some items of a list, and where it goes on."""

    items: Sequence[T]
    next: str = ""
    """The token of the page after; "" at the end."""


async def every(fetch: Callable[[str], Awaitable[Page[T]]]) -> AsyncGenerator[T]:
    """Yield the items of all pages; `fetch` is given the token of a page, "" for the first."""
    after = ""
    for _ in range(_MAX_PAGES):
        page = await fetch(after)
        for item in page.items:
            yield item
        after = page.next
        if not after:
            return
