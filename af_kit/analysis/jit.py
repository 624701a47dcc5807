"""Compile a kernel with numba, wherever the kit is installed."""

from __future__ import annotations

import functools
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
        import numba

        try:
            if "kernel" not in compiled:
                compiled.setdefault("kernel", compile_it(cache=True))  # of two threads, one wins, and both use its work
            return compiled["kernel"](*args)
        except numba.core.errors.NumbaError:
            raise  # the function cannot be compiled
        except Exception:  # noqa: BLE001  whatever the cache met: a full disk, a damaged file, no place at all
            compiled["kernel"] = compile_it()
        return compiled["kernel"](*args)

    return kernel
