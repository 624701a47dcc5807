"""A thread that looks at a credential's source, has it sent again when it changes, and warns before it ends."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from af_kit.errors import AfKitError
from af_kit.plugins.credential import About, duration

__all__ = ["LOOK_S", "WARN_S", "Watcher"]

# A warning from a thread of its own: `warnings` would go to whatever cell happens to run, and its filters are not made
# for threads.
logger = logging.getLogger(__name__)

# Seconds between two looks at the source, and the most between two looks at the client
LOOK_S = 5.0
_CLIENT_S = 0.5
# Seconds before the end at which it warns, or a tenth of the whole lifetime if that is less (tokens live for an hour)
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
        self._told = ""
        self._warned: About | None = None
        self._expired: About | None = None
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
        next_look = time.monotonic() + LOOK_S
        while not self._end.wait(min(_CLIENT_S, LOOK_S)):
            client = self._client()
            status = "closed" if client is None else client.status
            del client
            if status in ("closed", "closing"):
                return
            if time.monotonic() < next_look or status != "running":
                continue
            self._look()
            next_look = time.monotonic() + LOOK_S

    def _look(self) -> None:
        try:
            self._renew()
            self._told = ""
        except (AfKitError, OSError) as error:
            # While it is being written a file is not whole: it is told when it is the same at the next look.
            if str(error) == self._told:
                pass
            self._tell(str(error))
        self._warn_of_end()
