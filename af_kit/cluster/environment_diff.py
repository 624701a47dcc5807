"""Which Python a process runs in: this session's and its workers', to tell how they differ."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

# Where container runtimes and hubs say which image a process runs in.
_IMAGES = ("JUPYTER_IMAGE_SPEC", "JUPYTER_IMAGE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", "CONTAINER_IMAGE")
_SHOWN = 8


class Surroundings(NamedTuple):
    """A Python environment: its folder, and the image that it is in where that is known."""

    prefix: str
    image: str

    def __str__(self) -> str:
        return f"{self.prefix} in {self.image}" if self.image else self.prefix


def here() -> Surroundings:
    """This process's."""
    return Surroundings(sys.prefix, next((os.environ[name] for name in _IMAGES if os.environ.get(name)), ""))


def installed() -> dict[str, str]:
    """The packages of this process's environment, and their versions."""
    from importlib.metadata import distributions

    found = ((distribution.metadata["Name"], distribution.version) for distribution in distributions())
    return {name.lower().replace("_", "-"): version for name, version in found if name}


def differences(client: Any) -> list[str]:
    """How the workers' environments differ from this session's: a line each, none where they are equal.

    The same folder of the same image is taken as equal. Elsewhere, what is installed decides, not where: a hub's image
    and a batch farm's shared file system may well hold the same packages.
    """
    mine = here()
    theirs = {worker: Surroundings(*found) for worker, found in client.run(here, on_error="ignore").items()}
    other = {worker: found for worker, found in theirs.items() if found != mine}
    if not other:
        return []
    packages = client.run(installed, workers=list(other), on_error="ignore")
    lines = compare(installed(), packages)
    if lines:
        places = sorted({str(found) for found in other.values()})
        lines.insert(
            0, f"environment: {mine} here, {', '.join(places[:_SHOWN])} on {len(other)} of {len(theirs)} workers"
        )
    return lines


def compare(mine: Mapping[str, str], theirs: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The packages that differ, in a line or two.

    Parameters
    ----------
    mine : mapping
        Package to version, here.
    theirs : mapping
        The same for each worker.
    """
    missing = sorted({name for found in theirs.values() for name in mine if name not in found})
    other = sorted(
        {
            f"{name} {mine[name]} here, {found[name]} there"
            for found in theirs.values()
            for name in mine
            if name in found and found[name] != mine[name]
        }
    )
    lines = []
    if missing:
        lines.append(f"not on all workers: {_some(missing)}")
    if other:
        lines.append(f"other versions: {_some(other)}")
    return lines


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return "; ".join(names[:_SHOWN]) + more
