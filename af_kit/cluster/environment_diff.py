"""Compare the Python environments of this session and of its workers."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

# Variables in which hubs, batch systems and container runtimes name the image of a process, the most precise first.
IMAGE_VARIABLES = (
    "JUPYTER_IMAGE_SPEC",
    "JUPYTER_IMAGE",
    "APPTAINER_CONTAINER",
    "SINGULARITY_CONTAINER",
    "CONTAINER_IMAGE",
)
_SHOWN = 8


class Environment(NamedTuple):
    """A Python environment: its folder, and its image, or an empty string if the image is not known."""

    prefix: str
    image: str

    def __str__(self) -> str:
        return f"{self.prefix} in {self.image}" if self.image else self.prefix


def current() -> Environment:
    """Return the environment of this process."""
    return Environment(sys.prefix, next((os.environ[name] for name in IMAGE_VARIABLES if os.environ.get(name)), ""))


def installed() -> dict[str, str]:
    """Return the packages of this process's environment, and their versions."""
    from importlib.metadata import distributions

    found = ((distribution.metadata["Name"], distribution.version) for distribution in distributions())
    return {name.lower().replace("_", "-"): version for name, version in found if name}


def differences(client: Any) -> list[str]:
    """Return the differences between the workers' environments and this session's, one line each.

    Environments with the same folder and image are equal. Others are compared by their packages: a hub's image and a
    batch farm's shared file system can have the same packages.
    """
    session = current()
    workers = {worker: Environment(*found) for worker, found in client.run(current, on_error="ignore").items()}
    other = {worker: found for worker, found in workers.items() if found != session}
    if not other:
        return []
    packages = client.run(installed, workers=list(other), on_error="ignore")
    lines = compare(installed(), packages)
    if lines:
        names = sorted({str(found) for found in other.values()})
        lines.insert(
            0, f"environment: {session} here, {', '.join(names[:_SHOWN])} on {len(other)} of {len(workers)} workers"
        )
    return lines


def compare(session: Mapping[str, str], workers: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return one line about missing packages, and one about packages of other versions.

    Parameters
    ----------
    session : mapping
        Package to version in this session.
    workers : mapping
        The same for each worker.
    """
    missing = sorted({name for found in workers.values() for name in session if name not in found})
    other = sorted(
        {
            f"{name} {session[name]} here, {found[name]} there"
            for found in workers.values()
            for name in session
            if name in found and found[name] != session[name]
        }
    )
    lines = []
    if missing:
        lines.append(f"not on all workers: {_first(missing)}")
    if other:
        lines.append(f"other versions: {_first(other)}")
    return lines


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return "; ".join(names[:_SHOWN]) + more
