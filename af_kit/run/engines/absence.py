"""A cluster without workers: Dask would wait forever; a run says so, starts workers again, or ends with a reason."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from af_kit import config
from af_kit.display.progress import say
from af_kit.run.engines.client_calls import connection_lost, is_lost

__all__ = ["Absence"]

# In seconds: how often to check the tasks, how often to ask the scheduler, and when to tell the user.
_POLL_S, _CHECK_S, _SAY_S = 0.5, 2.0, 5.0
# After so many times, starting workers again does not help: the function kills them.
_MOST_RESTARTS = 3


class Absence:
    """Watches whether a client's cluster has workers, while tasks are waiting for them.

    Parameters
    ----------
    client : distributed.Client
        The cluster. `cluster.connection` has given it ``_af_kit_hooks``, by which a batch queue or a service says
        whether more workers will come.
    shown : bool, optional
        Whether to print what happens; by default in a notebook and on a terminal.
    """

    def __init__(self, client: Any, shown: bool | None = None) -> None:
        self._client, self._shown = client, shown
        self._hooks: dict[str, Any] = getattr(client, "_af_kit_hooks", {})
        self._most = self._restarts = 0
        with suppress(OSError):
            self._most = len(client.nthreads())
        self._next_check = 0.0
        self._since: float | None = None
        self._said = ""

    def end_reason(self) -> str:
        """Return why no worker will work on the waiting tasks; an empty string while there is hope.

        It may be called as often as you like, and asks the scheduler every two seconds.

        Raises
        ------
        ConnectError
            The connection to the scheduler is lost.
        """
        now = time.monotonic()
        if now < self._next_check:
            return ""
        self._next_check = now + _CHECK_S
        try:
            workers = len(self._client.nthreads())
        except OSError as error:
            if is_lost(self._client, error):
                raise connection_lost(self._client) from error
            return ""  # only this call failed
        if workers:
            self._most = max(self._most, workers)
            self._since, self._said = None, ""
            return ""
        if self._since is None:
            self._since = now
        gone_s = now - self._since
        return self._without_workers(gone_s) if gone_s >= _SAY_S else ""

    def wait(self, futures: Sequence[Any]) -> str:
        """Wait until tasks are done; return why they never will be, or an empty string.

        Raises
        ------
        ConnectError
            The connection to the scheduler is lost.
        """
        from distributed import as_completed

        # Not distributed.wait: the frames of its time-out refer to the error that refers to them, and until Python
        # collects such a cycle it keeps the futures, and so the cluster their results.
        finished = as_completed(futures, loop=self._client.loop, raise_errors=False)
        missing = len(futures)
        while missing:
            done, reason = self.wait_for_some(finished)
            if reason:
                return reason
            missing -= len(done)
        if self._client.status != "running":  # a client that loses its scheduler cancels its tasks
            raise connection_lost(self._client)
        return ""

    def fetch(self, futures: Sequence[Any]) -> tuple[list[Any], str]:
        """Return the results of tasks; or an empty list, and why there will never be one.

        A worker may be gone after its task is done and before its result is here. Dask then makes the result again,
        for which there may be no worker.

        Raises
        ------
        ConnectError
            The connection to the scheduler is lost.
        """
        if reason := self.wait(futures):
            return [], reason
        gathering = self._client.gather(list(futures), asynchronous=True)
        answer = asyncio.run_coroutine_threadsafe(gathering, self._client.loop.asyncio_loop)
        while not concurrent.futures.wait([answer], _POLL_S).done:
            if self._client.status != "running":
                raise connection_lost(self._client)
            # "pending", or "lost" if the scheduler's news of the lost worker comes after its answer
            if any(future.status in ("pending", "lost") for future in futures) and (reason := self.end_reason()):
                return [], reason
        return answer.result(), ""

    def wait_for_some(self, finished: Any) -> tuple[list[Any], str]:
        """Wait until at least one future of an ``as_completed`` is done.

        Returns
        -------
        list of Future
            Those that are done.
        str
            Why no future ever will be; then the list is empty.

        Raises
        ------
        ConnectError
            The connection to the scheduler is lost.
        """
        while True:
            with finished.thread_condition:
                if not finished.has_ready():
                    finished.thread_condition.wait(_POLL_S)
            if done := list(finished.next_batch(block=False)):
                return done, ""
            if self._client.status != "running":
                raise connection_lost(self._client)
            if reason := self.end_reason():
                return [], reason

    def _without_workers(self, gone_s: float) -> str:
        if reason := self._ask("fatal_reason"):
            return f"no worker will come: {reason}"
        if pending := self._ask("pending_summary"):
            self._say(f"The cluster has no workers now; waiting: {pending}.")
            return ""
        limit = float(config.get("run.workers_timeout_s"))
        cluster = self._own_cluster()
        if self._most and cluster is not None and not _restarting(cluster):
            if not self._said:
                self._restarts += 1
            if self._restarts > _MOST_RESTARTS:
                return (
                    f"all workers were lost {self._restarts} times, and started again {_MOST_RESTARTS} times. If they "
                    "ran out of memory, try smaller chunks (chunk_entries=...) or more memory per worker"
                )
            self._say(f"All {self._most} workers of this cluster are gone: starting them again.")
            cluster.scale(self._most)
        else:
            self._say(f"The cluster has no workers: waiting for {limit:g} s.")
        if gone_s < limit:
            return ""
        if self._most:
            return (
                f"all workers of the cluster are gone (out of memory, ended by the batch system, or scaled down), and "
                f"none came within {limit:g} s"
            )
        return f"the cluster has no workers, and none came within {limit:g} s (af_kit.run.workers_timeout_s)"

    def _own_cluster(self) -> Any:
        """Return the cluster if this session started it on this machine with a fixed number of workers, else None."""
        from distributed import LocalCluster

        cluster = self._client.cluster
        own = isinstance(cluster, LocalCluster) and getattr(cluster, "_adaptive", None) is None
        return cluster if own else None

    def _ask(self, hook: str) -> str:
        with suppress(OSError, TimeoutError):  # the queue or the service does not answer
            return str(self._hooks[hook]()) if hook in self._hooks else ""
        return ""

    def _say(self, line: str) -> None:
        if line != self._said:
            self._said = line
            say(line, self._shown)


def _restarting(cluster: Any) -> bool:
    """Return whether a nanny of a local cluster is still there: it starts its worker again by itself."""
    from distributed.core import Status

    ended = (Status.closing, Status.closed, Status.failed, Status.closing_gracefully)
    return any(getattr(nanny, "status", None) not in ended for nanny in list(cluster.workers.values()))
