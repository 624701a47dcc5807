"""Settings of Dask for schedulers that run many tasks, unless the user configured them."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

import dask.config
import distributed  # noqa: F401 - loads its default configuration

__all__ = ["SHORT_LOGS", "collect_rarely", "unless_configured"]

# For each worker the scheduler keeps the last messages that it sent, for developers. One of them holds a task, 7 kB and
# more with its layouts, long after it is done: Dask's 1000 messages are gigabytes for a few hundred workers.
SHORT_LOGS = {"distributed.admin.low-level-log-length": 20}
# As the command `dask scheduler`: a scheduler has hundreds of thousands of objects that stay, and looking through them
# takes a twelfth of its time otherwise.
_LESS_OFTEN = 3


def unless_configured(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without those that the user configured."""
    shipped = dask.config.merge(*dask.config.defaults)
    return {
        key: value for key, value in settings.items() if dask.config.get(key) == dask.config.get(key, config=shipped)
    }


def collect_rarely() -> None:
    """Let Python look for cycles of garbage less often in this process."""
    gc.set_threshold(*(_LESS_OFTEN * threshold for threshold in gc.get_threshold()))
