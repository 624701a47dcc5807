"""A thread that looks at a credential's source, has it sent when it changes, and warns before it ends."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from af_kit.credentials.credential import About, duration
from af_kit.errors import AfKitError

__all__ = ["LOOK_S", "WARN_S", "Watcher"]

# Not `warnings`: its filters and its capture are not made for threads.
logger = logging.getLogger(__name__)

# Seconds between two looks at the source; the client is looked at more often, so that the thread ends soon after it.
LOOK_S = 5.0
_CLIENT_S = 0.5
# Seconds before the end at which it warns, or a quarter of what is left when it is first seen, if that is less: tokens
# live for an hour.
WARN_S = 3600.0


class Watcher:
    """Looks at a source until the client is closed or gone, or until it is stopped.

    Parameters
    ----------
    client : distributed.Client
        Its end is the watcher's.
    renew : callable
        Reads the source and sends it if it has changed.
    about : callable
        What is on the workers now.
    """

    def __init__(self, client: Any, renew: Callable[[], None], about: Callable[[], About]) -> None:
        self._client = weakref.ref(client)
        self._renew, self._about = renew, about
        self._end = threading.Event()
        self._failures = 0
        self._seen = about()
        self._warn_at = _moments(self._seen)
        self._thread = threading.Thread(target=self._watch, name="af-kit-credentials", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it still looks."""
        return self._thread.is_alive() and not self._end.is_set()

    def stop(self) -> None:
        """End the thread, and wait for it."""
        self._end.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=30)

    def _watch(self) -> None:
        next_look = time.monotonic()
        while True:
            client = self._client()
            status = "closed" if client is None else client.status
            del client  # not to keep it alive while waiting
            if status in ("closed", "closing"):
                return
            if status == "running" and time.monotonic() >= next_look:
                self._look()
                next_look = time.monotonic() + LOOK_S
            if self._end.wait(min(_CLIENT_S, LOOK_S)):
                return

    def _look(self) -> None:
        try:
            self._renew()
            self._failures = 0
        except AfKitError as error:
            self._failures += 1
            if self._failures == 2:  # a file that is just being written is not whole, and is so at the next look
                logger.warning("The workers keep the credential that they have: %s", error)
        except Exception:
            # The connection, above all; what ends the thread would go unseen.
            self._failures += 1
            if self._failures == 2:
                logger.warning("A credential could not be renewed on the workers; trying on.", exc_info=True)
        self._warn_of_end()

    def _warn_of_end(self) -> None:
        about = self._about()
        left = about.seconds_left
        if about is not self._seen:
            self._seen, self._warn_at = about, _moments(about)
        if not self._warn_at or left > self._warn_at[-1]:
            return
        self._warn_at.pop()
        if left > 0:
            logger.warning("The workers' %s ends in %s. %s: it is sent by itself.", about, duration(left), about.renew)
            return
        self._warn_at.clear()
        logger.warning(
            "The workers' %s has expired: what they open now fails. %s, it is sent by itself; then result.retry().",
            about,
            about.renew,
        )


def _moments(about: About) -> list[float]:
    """The seconds before the end at which to warn, the last of the list first."""
    return [0.0, min(WARN_S, about.seconds_left / 4)]
