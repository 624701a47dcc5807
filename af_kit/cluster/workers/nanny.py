"""The nanny of one worker of a local cluster: it starts the worker process and watches it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from typing import Any

from distributed import Nanny, Worker
from distributed.core import Status


class LocalWorker(Worker):
    """A worker that goes on when the session is interrupted.

    Ctrl-C in a terminal and the stop button of Jupyter signal all processes of the session. A worker that ended there
    would take its results with it, and the session could not keep what has been processed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        super().__init__(*args, **kwargs)


class LocalNanny(Nanny):
    """A nanny whose worker starts with given environment variables and within a given time.

    Dask sets variables by its configuration, for all clusters of the process. Here they apply to a single cluster,
    including workers that it gets later. Dask's ``death_timeout`` leaves the process of a late worker behind. Here that
    process is killed, and the start fails as if it had ended by itself.

    Parameters
    ----------
    environment : mapping of str to str or None
        Variables to set; None removes a variable that Dask would set.
    start_s : float
        Seconds until the worker must run. Only for the first start, not for a worker that is replaced.
    """

    def __init__(self, *args: Any, environment: Mapping[str, str | None], start_s: float, **kwargs: Any) -> None:
        super().__init__(*args, worker_class=LocalWorker, **kwargs)
        self._start_s: float | None = start_s
        self._removed = [name for name, value in environment.items() if value is None]
        for name, value in environment.items():
            for variables in (self.pre_spawn_env, self.env):
                variables.pop(name, None)
                if value is not None:
                    variables[name] = value

    async def instantiate(self) -> Status:
        """Start the worker process, and wait until it runs."""
        for name in self._removed:
            os.environ.pop(name, None)  # another nanny may have set it in this process, and new processes inherit it
        limit, self._start_s = self._start_s, None
        if limit is None:
            return await super().instantiate()
        timer = asyncio.get_running_loop().call_later(limit, self._kill_process)
        try:
            return await super().instantiate()
        finally:
            timer.cancel()

    def _kill_process(self) -> None:
        if self.process is not None and self.process.process is not None:
            with contextlib.suppress(ValueError):  # it has just ended by itself
                self.process.process.kill()
