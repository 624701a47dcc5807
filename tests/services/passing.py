"""A service that runs for as long as it is tested."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

__all__ = ["passing"]


class _Service(Protocol):
    def stop(self) -> None: ...


S = TypeVar("S", bound=_Service)


@contextmanager
def passing(service: Callable[[Path], S], name: str) -> Iterator[S]:
    """A service, to be started, in a folder of its own; stopped at the end, and the folder is removed."""
    folder = Path(tempfile.mkdtemp(prefix=f"af-kit-{name}-"))  # a daemon's user must come here: not below pytest's own
    here = service(folder)
    try:
        yield here
    finally:
        here.stop()
        shutil.rmtree(folder)
