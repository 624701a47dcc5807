"""A warning if credentials on the workers expire before the end of a run, while there is time to renew them."""

from __future__ import annotations

import time
import warnings
from typing import Any

__all__ = ["CredentialExpiry"]

# The rate of the first seconds says little; after that, a check every half minute costs nothing.
_FIRST_S, _AGAIN_S = 10.0, 30.0


class CredentialExpiry:
    """Estimates the remaining time of a run and warns once if a credential on the workers expires before.

    Parameters
    ----------
    client : distributed.Client, pyspark.sql.SparkSession or None
        Nothing is checked without a client, or if no credential was sent to its workers.
    entries : int
        Entries to process.
    """

    def __init__(self, client: Any, entries: int) -> None:
        self._client = client if client is not None and _was_sent(client) else None
        self._entries, self._done = entries, 0
        self._began = time.monotonic()
        self._next = self._began + _FIRST_S
        if self._client is not None:
            self._warn(0.0)

    def update(self, entries: int) -> None:
        """Count entries that are done or failed; now and then, estimate the remaining time."""
        self._done += entries
        now = time.monotonic()
        if self._client is not None and self._done and now >= self._next:
            self._next = now + _AGAIN_S
            self._warn((self._entries - self._done) * (now - self._began) / self._done)

    def _warn(self, needed_s: float) -> None:
        from af_kit.plugins.lifetime import shortfall

        text = shortfall(self._client, needed_s)
        if text is not None:
            self._client = None  # warn once
            warnings.warn(text, stacklevel=6)


def _was_sent(client: Any) -> bool:
    """Return whether a credential was sent to a client's workers."""
    from af_kit.plugins.spark import is_spark, sent_to

    return bool(sent_to(client).facts if is_spark(client) else client.run_on_scheduler(_has_credentials))


def _has_credentials(dask_scheduler: Any) -> bool:
    return any(name.startswith("af-secret-") for name in dask_scheduler.worker_plugins)
