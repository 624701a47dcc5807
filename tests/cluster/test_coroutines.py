from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from af_kit.cluster.coroutines import run_sync


async def answer() -> int:
    await asyncio.sleep(0.01)
    return 42


async def fail() -> None:
    raise ValueError("reason")


def test_it_returns_the_result_with_and_without_a_running_event_loop():
    async def cell() -> int:
        return run_sync(answer)

    assert run_sync(answer) == asyncio.run(cell()) == 42


def test_it_raises_the_coroutines_error():
    with pytest.raises(ValueError, match="reason"):
        run_sync(fail)


@pytest.mark.timeout(60)
def test_an_interrupt_cancels_the_coroutine_and_lets_it_clean_up():
    cleaned_up = threading.Event()

    async def wait() -> None:
        threading.Timer(0.1, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
        try:
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0.05)
            cleaned_up.set()

    with pytest.raises(KeyboardInterrupt):
        run_sync(wait)
    assert cleaned_up.is_set()
