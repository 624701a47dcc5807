"""Set-up of all tests."""

from __future__ import annotations

import signal

# Processes that a shell starts in the background ignore interrupts, and so do their children. The tests of interrupts
# need them.
signal.signal(signal.SIGINT, signal.default_int_handler)
