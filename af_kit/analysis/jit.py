"""Compile a kernel with numba, wherever the kit is installed."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from typing import Any, TypeVar

R = TypeVar("R")


def jit(function: Callable[..., R]) -> Callable[..., R]:
    """Compile ``function`` at its first call; it then runs without the interpreter's lock.

    The machine code is kept on disk (in ``NUMBA_CACHE_DIR``, beside the source or in the user's cache directory), so
    that the next process starts at once. Where that fails (a container with a read-only root, a home directory over
    its quota, a damaged file), the function is compiled again in each process. numba itself is imported at the first
    call. Division by zero gives infinity or NaN, as in numpy.
    """
    compiled: dict[str, Callable[..., R]] = {}

    def compile_it(**options: bool) -> Callable[..., R]:
        import numba

        return numba.njit(nogil=True, error_model="numpy", **options)(function)

    @functools.wraps(function)
    def kernel(*args: Any) -> R:
        try:
            if "kernel" not in compiled:
                compiled.setdefault("kernel", compile_it(cache=True))  # of two threads, one wins, and both use its work
            return compiled["kernel"](*args)
        except (OSError, EOFError, pickle.UnpicklingError, RuntimeError):
            # A kernel opens no file: it is the cache that failed (numba says a missing place with a RuntimeError).
            compiled["kernel"] = compile_it()
        return compiled["kernel"](*args)

    return kernel
