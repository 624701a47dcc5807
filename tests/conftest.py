"""Set-up of all tests."""

from __future__ import annotations

import signal

import pytest

# Processes that a shell starts in the background ignore interrupts, and so do their children. The tests of interrupts
# need them.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def authority():
    """A certificate authority, whose key takes time to generate."""
    from certificates import Authority  # only for tests of credentials, as it imports cryptography

    return Authority()


@pytest.fixture(scope="session")
def alice(authority):
    """A user with a certificate of the authority."""
    return authority.user()
