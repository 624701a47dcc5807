"""Compile a kernel with numba, with or without a writable cache."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

R = TypeVar("R")


def jit(function: Callable[..., R]) -> Kernel[R]:
    """Compile a function at its first call; the compiled function releases the GIL.

    numba caches the machine code on disk (in ``NUMBA_CACHE_DIR``, next to the source or in the user's cache directory),
    so that the next process need not compile. If the cache cannot be used (a container with a read-only root, a home
    directory over its quota, a damaged file), each process compiles the function again. numba itself is imported at the
    first call. Division by zero returns infinity or NaN, as in numpy.
    """
    return Kernel(function)


class Kernel(Generic[R]):
    """A function compiled by :func:`jit` at its first call."""

    def __init__(self, function: Callable[..., R]) -> None:
        functools.update_wrapper(self, function)
        self.__wrapped__ = function

    def __call__(self, *args: Any) -> R:
        """Call the compiled function."""
        import numba

        try:
            # If two threads compile, both use the result of the first.
            kernel: Callable[..., R] = vars(self).get("_kernel") or vars(self).setdefault(
                "_kernel", self._compile(True)
            )
            return kernel(*args)
        except numba.core.errors.NumbaError:
            raise  # the function itself does not compile
        except Exception:  # noqa: BLE001  the cache: a full disk, a damaged file, no writable directory
            self._kernel = self._compile(False)
        return self._kernel(*args)

    def _compile(self, cache: bool) -> Callable[..., R]:
        import numba

        kernel: Callable[..., R] = numba.njit(nogil=True, error_model="numpy", cache=cache)(self.__wrapped__)
        return kernel

    # Pickled as its function: machine code is not sent to workers, and does not change the key of a checkpoint.
    def __getstate__(self) -> Callable[..., R]:
        return self.__wrapped__

    def __setstate__(self, function: Callable[..., R]) -> None:
        self.__init__(function)  # type: ignore[misc]
