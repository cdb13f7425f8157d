"""What holds for all tests, on whatever machine and however they were started."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# How long drawing and running an example takes is the machine's business.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# Tests that run in the background ignore Ctrl-C, and so would every program that they start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
