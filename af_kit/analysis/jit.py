"""Compile a kernel with numba, wherever the kit is installed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

R = TypeVar("R")


def jit(function: Callable[..., R]) -> Kernel[R]:
    """Compile a function at its first call; it then runs without the interpreter's lock.

    The machine code is kept on disk (in ``NUMBA_CACHE_DIR``, beside the source or in the user's cache directory), so
    that the next process starts at once. Where that fails (a container with a read-only root, a home directory over
    its quota, a damaged file), the function is compiled again in each process. numba itself is imported at the first
    call. Division by zero gives infinity or NaN, as in numpy.
    """
    return Kernel(function)


class Kernel(Generic[R]):
    """A function that :func:`jit` compiles."""

    def __init__(self, function: Callable[..., R]) -> None:
        functools.update_wrapper(self, function)
        self.__wrapped__ = function

    def __call__(self, *args: Any) -> R:
        """Call the compiled function."""
        import numba

        try:
            # Of two threads one wins here, and both use its work.
            kernel: Callable[..., R] = vars(self).get("_kernel") or vars(self).setdefault(
                "_kernel", self._compile(True)
            )
            return kernel(*args)
        except numba.core.errors.NumbaError:
            raise  # the function cannot be compiled
        except Exception:  # noqa: BLE001  whatever the cache met: a full disk, a damaged file, no place at all
            self._kernel = self._compile(False)
        return self._kernel(*args)

    def _compile(self, cache: bool) -> Callable[..., R]:
        import numba

        kernel: Callable[..., R] = numba.njit(nogil=True, error_model="numpy", cache=cache)(self.__wrapped__)
        return kernel

    # A kernel is its function: machine code is not sent to workers, and does not tell two kernels apart.
    def __getstate__(self) -> Callable[..., R]:
        return self.__wrapped__

    def __setstate__(self, function: Callable[..., R]) -> None:
        self.__init__(function)  # type: ignore[misc]
