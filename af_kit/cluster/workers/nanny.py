"""The process that starts and watches one worker of a local cluster."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from typing import Any

from distributed import Nanny
from distributed.core import Status


class LocalNanny(Nanny):
    """A nanny whose worker starts with given variables, and within a given time.

    Dask's own way to set variables is its configuration, for all clusters of the process; this one concerns a single
    cluster, and holds as well for the workers that it gets later. Dask's ``death_timeout`` leaves a process behind when
    a worker is late; here the late process is ended, and the start fails as if it had ended by itself.

    Parameters
    ----------
    environment : mapping of str to str or None
        Variables to set; None removes one that Dask would set.
    start_s : float
        Seconds until the worker must run. It counts for the first start, not for a worker that is replaced.
    """

    def __init__(self, *args: Any, environment: Mapping[str, str | None], start_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._start_s: float | None = start_s
        self._removed = [name for name, value in environment.items() if value is None]
        for name, value in environment.items():
            for variables in (self.pre_spawn_env, self.env):
                variables.pop(name, None)
                if value is not None:
                    variables[name] = value

    async def instantiate(self) -> Status:
        """Start the worker's process, and wait until it runs."""
        for name in self._removed:
            os.environ.pop(name, None)  # a nanny leaves what it sets in this process, and new ones inherit it
        limit, self._start_s = self._start_s, None
        if limit is None:
            return await super().instantiate()
        end = asyncio.get_running_loop().call_later(limit, self._end_process)
        try:
            return await super().instantiate()
        finally:
            end.cancel()

    def _end_process(self) -> None:
        if self.process is not None and self.process.process is not None:
            with contextlib.suppress(ValueError):  # it ended by itself just now
                self.process.process.kill()
