"""Run a coroutine from synchronous code, also in a thread whose event loop is running, such as a notebook's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["run_sync"]

T = TypeVar("T")
# Seconds that the coroutine may take to clean up after an interrupt.
_CLEAN_UP_S = 5.0


def run_sync(make_coroutine: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end in a thread with its own event loop, and return its result.

    If the caller is interrupted, the coroutine is cancelled and gets a few seconds to clean up.

    Parameters
    ----------
    make_coroutine : callable
        Returns the coroutine. It is called in the new thread.
    """
    outcome: Future[T] = Future()
    ready = threading.Event()
    running: list[Any] = []

    async def main() -> None:
        task = asyncio.ensure_future(make_coroutine())
        running.extend((asyncio.get_running_loop(), task))
        ready.set()
        try:
            outcome.set_result(await task)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            outcome.set_exception(error)

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="af-kit-coroutine", daemon=True)
    try:
        thread.start()
        return outcome.result()
    except BaseException:
        ready.wait(_CLEAN_UP_S)
        if running and not outcome.done():
            loop, task = running
            loop.call_soon_threadsafe(task.cancel)
        raise
    finally:
        if thread.is_alive():
            thread.join(_CLEAN_UP_S)
