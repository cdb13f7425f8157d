"""Two logs judged entry by entry (RFC 0007): which entries are void, and what is owed.

Steps are taken in order. An entry is appended to the log of side "a" or "b"; a step with a signer notes that this
side's signature has acknowledged the other log up to `acked`. A valid vector gives the reason of each entry, "" for
one that is not void, and for each side as payer the amounts of its lane at the end, agreed at all entries of both
logs. In a hostile vector only the last entry is void, under the vector's error.
"""

from __future__ import annotations

from vector_cases import logs_bad, logs_good
from vector_cases.common import Case


def cases() -> list[Case]:
    """Return every case of the area."""
    return [*logs_good.cases(), *logs_bad.cases()]
