"""Whether the credentials on the workers will last as long as the run; said once, while something can be done."""

from __future__ import annotations

import time
import warnings
from typing import Any

__all__ = ["Outlook"]

# The rate of the first seconds says little; afterwards a look every half minute costs nothing.
_FIRST_S, _AGAIN_S = 10.0, 30.0


class Outlook:
    """Estimates how long a run still takes, and compares that with what was sent to the workers.

    Parameters
    ----------
    client : distributed.Client or None
        Nothing is looked at without one, or where no credential was sent to its workers.
    entries : int
        Entries to process.
    """

    def __init__(self, client: Any, entries: int) -> None:
        self._client = client if client is not None and client.run_on_scheduler(_has_credentials) else None
        self._entries, self._done = entries, 0
        self._began = time.monotonic()
        self._next = self._began + _FIRST_S
        if self._client is not None:
            self._warn(0.0)

    def update(self, entries: int) -> None:
        """Count entries that are dealt with; now and then, look ahead."""
        self._done += entries
        now = time.monotonic()
        if self._client is not None and self._done and now >= self._next:
            self._next = now + _AGAIN_S
            self._warn((self._entries - self._done) * (now - self._began) / self._done)

    def _warn(self, needed_s: float) -> None:
        from af_kit.plugins.lifetime import shortfall

        text = shortfall(self._client, needed_s)
        if text is not None:
            self._client = None  # once is enough
            warnings.warn(text, stacklevel=6)


def _has_credentials(dask_scheduler: Any) -> bool:
    return any(name.startswith("af-secret-") for name in dask_scheduler.worker_plugins)
