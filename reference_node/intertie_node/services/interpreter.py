"""How the Python interpreter of a node's process is set."""

import gc
import sys
from typing import Final

SWITCH_INTERVAL_S: Final = 0.00005
"""How long a busy thread keeps Python to itself: short, so that commits do not wait for the loop."""
COLLECT_AFTER: Final = (20_000, 20, 50)
"""Allocations, then collections of the younger generation, before each generation is looked through for cycles.

A batch makes many short-lived objects and hardly a cycle; looking each time costs a tenth of the speed.
"""


def tune() -> None:
    """Set the interpreter for a node; once, before its event loop runs."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(*COLLECT_AFTER)


def settled() -> None:
    """What has been loaded by now stays until the end: it is not looked through again."""
    gc.collect()
    gc.freeze()
