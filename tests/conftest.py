"""What all tests share."""

from __future__ import annotations

import signal

# A shell that starts the tests in the background makes them, and all they start, deaf to interrupts: the tests of
# interrupts need to hear them.
signal.signal(signal.SIGINT, signal.default_int_handler)
