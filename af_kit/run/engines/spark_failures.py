"""What ends a run on Spark: a session that was stopped, no executors, or a job that fails, each with the reason."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

from af_kit import config
from af_kit.display.progress import say
from af_kit.errors import ConnectError

__all__ = ["Executors", "is_cancelled", "reason_of", "session_lost"]

# In seconds: how often to ask for the executors, and when to say that there are none.
_CHECK_S, _SAY_S = 2.0, 5.0


class Executors:
    """A thread that watches whether there are executors: Spark would wait for them forever."""

    def __init__(self, spark: Any, put: Callable[[Any], None], shown: bool | None) -> None:
        self._spark, self._put, self._shown = spark, put, shown
        self._end = threading.Event()
        self.reason = ""
        """Why none will come."""

    def start(self) -> None:
        """Watch, unless the executors are threads of the session itself."""
        if not str(self._spark.master).startswith("local"):
            threading.Thread(target=self._watch, name="af-kit-executors", daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._end.set()

    def is_stopped(self) -> bool:
        """Return whether the session has ended."""
        try:
            return self._spark._jsc is None or bool(self._spark._jsc.sc().isStopped())
        except Exception:  # noqa: BLE001 - Java itself has ended
            return True

    def _watch(self) -> None:
        since: float | None = None
        said = False
        limit = float(config.get("run.workers_timeout_s"))
        while not self._end.wait(_CHECK_S):
            if self.is_stopped():
                self._put(session_lost(None))
                return
            # The session itself is one of these.
            if self._spark._jsc.sc().getExecutorMemoryStatus().size() > 1:
                since, said = None, False
                continue
            since = since or time.monotonic()
            gone_s = time.monotonic() - since
            if gone_s >= _SAY_S and not said:
                said = True
                say(f"The Spark session has no executors: waiting for {limit:g} s.", self._shown)
            if gone_s >= limit:
                self.reason = (
                    f"the Spark session has no executors, and none came within {limit:g} s "
                    "(af_kit.run.workers_timeout_s). Its master's page says why"
                )
                self._put(self.reason)
                return


def session_lost(error: BaseException | None) -> ConnectError:
    """Return the error of a run whose session has ended."""
    why = f" ({reason_of(error)})" if error is not None else ""
    return ConnectError(
        f"The Spark session has ended{why}: it was stopped, or its master has ended the application. Create a new one "
        "and run again; with checkpoint=... a run continues where it stopped."
    )


def is_cancelled(error: BaseException) -> bool:
    """Whether a job failed because it was cancelled."""
    return isinstance(error, InterruptedError) or "SPARK_JOB_CANCELLED" in str(error)


def reason_of(error: BaseException) -> str:
    """Return in one sentence why a job failed."""
    text = str(error)
    if re.search(r"Python worker exited unexpectedly|ExecutorLostFailure|EOFException", text):
        return (
            "the executors that ran it died (out of memory, ended by the cluster, or crashed). Read the executors' "
            "logs; try smaller chunks (chunk_entries=...) or more memory per executor"
        )
    if "maxResultSize" in text:
        return "the result is larger than Spark allows (spark.driver.maxResultSize): return less, or raise that limit"
    # The last line of the traceback in Python, else the first one of Java's
    python = re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception): .*$", text, re.MULTILINE)
    lines = python or text.strip().splitlines() or [type(error).__name__]
    return str(lines[0])[:500]
