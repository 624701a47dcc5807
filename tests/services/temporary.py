"""A service for the duration of its tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from services.common import Service

__all__ = ["temporary_service"]

S = TypeVar("S", bound=Service)


@contextmanager
def temporary_service(service: type[S], name: str) -> Iterator[S]:
    """Yield a service that has not been started, in a new folder; stop it and remove the folder at the end."""
    folder = Path(tempfile.mkdtemp(prefix=f"af-kit-{name}-"))  # not below pytest's: a daemon's user must reach it
    created = service(folder)
    try:
        yield created
    finally:
        created.stop()
        shutil.rmtree(folder)
