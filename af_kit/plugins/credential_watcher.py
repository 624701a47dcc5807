"""A thread that sends a credential again when its source changes, and warns before it expires."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from af_kit.credentials.credential import CredentialInfo, format_duration
from af_kit.errors import AfKitError

__all__ = ["CredentialWatcher"]

# Not `warnings`, whose filters are not thread-safe.
logger = logging.getLogger(__name__)

# Seconds between two checks of the source. The client is checked more often, so that the thread soon ends with it.
_CHECK_S = 5.0
_CLIENT_CHECK_S = 0.5
# Warn this many seconds before the expiry, or a quarter of the lifetime before it if that is less: tokens live for an
# hour.
_WARN_S = 3600.0


class CredentialWatcher:
    """Checks a source until the client is closed or gone, or until `stop`.

    Parameters
    ----------
    client : distributed.Client
        The watcher ends with it.
    send_if_changed : callable
        Reads the source and sends it if it has changed.
    info : callable
        Returns the facts about the workers' current credential.
    """

    def __init__(self, client: Any, send_if_changed: Callable[[], None], info: Callable[[], CredentialInfo]) -> None:
        self._client = weakref.ref(client)
        self._send_if_changed, self._info = send_if_changed, info
        self._end = threading.Event()
        self._failures = 0
        self._last_info = info()
        self._warn_at = _warning_times(self._last_info)
        self._thread = threading.Thread(target=self._watch, name="af-kit-credentials", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the watcher is running."""
        return self._thread.is_alive() and not self._end.is_set()

    def stop(self) -> None:
        """Stop the thread, and wait for it."""
        self._end.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=30)

    def _watch(self) -> None:
        next_check = time.monotonic()
        while True:
            client = self._client()
            status = "closed" if client is None else client.status
            del client  # a reference would keep it alive during the wait
            if status in ("closed", "closing"):
                return
            if status == "running" and time.monotonic() >= next_check:
                self._check()
                next_check = time.monotonic() + _CHECK_S
            if self._end.wait(min(_CLIENT_CHECK_S, _CHECK_S)):
                return

    def _check(self) -> None:
        try:
            self._send_if_changed()
            self._failures = 0
        except AfKitError as error:
            self._failures += 1
            if self._failures == 2:  # a file that is being written is incomplete once, and complete at the next check
                logger.warning("The workers keep the credential that they have: %s", error)
        except Exception:
            # Usually a lost connection. Any exception that ended the thread would go unnoticed.
            self._failures += 1
            if self._failures == 2:
                logger.warning("A credential could not be renewed on the workers; still trying.", exc_info=True)
        self._warn_of_expiry()

    def _warn_of_expiry(self) -> None:
        info = self._info()
        left = info.seconds_left
        if info is not self._last_info:
            self._last_info, self._warn_at = info, _warning_times(info)
        if not self._warn_at or left > self._warn_at[-1]:
            return
        self._warn_at.pop()
        if left > 0:
            logger.warning(
                "The workers' %s expires in %s. %s; this session then sends it.",
                info,
                format_duration(left),
                info.renew,
            )
            return
        self._warn_at.clear()
        logger.warning(
            "The workers' %s has expired: they can no longer open files. %s; this session then sends it. "
            "Afterwards: result.retry().",
            info,
            info.renew,
        )


def _warning_times(info: CredentialInfo) -> list[float]:
    """Return the seconds before the expiry at which to warn, in reverse order."""
    return [0.0, min(_WARN_S, info.seconds_left / 4)]
