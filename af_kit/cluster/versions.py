"""Check that the versions and environments of client, scheduler and workers are compatible.

A function is sent as the bytecode of its Python version and as names in its packages. A difference is

- an error if results would be wrong or tasks would fail: another minor version of Python, another version of af_kit,
  or a package that the kit needs and a worker does not have;
- a warning if it may matter: another minor version of a package that handles data or messages, or environments with
  different packages, as the user's function may need one of them;
- ignored otherwise: another patch release, or packages that the scheduler never uses.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from af_kit import config
from af_kit.errors import ConnectError

# What a worker needs to run the kit's tasks.
REQUIRED = ("af_kit", "awkward", "uproot", "vector", "hist", "numpy", "numba", "dask", "distributed", "cloudpickle")
# What both sides need to exchange messages with the scheduler.
_MESSAGES = ("dask", "distributed", "cloudpickle", "msgpack")
PACKAGES = (*REQUIRED, "msgpack")
# Variables in which hubs, batch systems and container runtimes name the image of a process, the most precise first.
IMAGE_VARIABLES = (
    "JUPYTER_IMAGE_SPEC",
    "JUPYTER_IMAGE",
    "APPTAINER_CONTAINER",
    "SINGULARITY_CONTAINER",
    "CONTAINER_IMAGE",
)
_SHOWN = 8

Versions = Mapping[str, str | None]


@contextlib.contextmanager
def without_dask_warnings() -> Iterator[None]:
    """Suppress Dask's warnings about versions: `check` compares more packages, and knows how much each matters."""
    from distributed.versions import VersionMismatchWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VersionMismatchWarning)
        yield


def check(client: Any) -> None:
    """Compare the versions of ``client``, its scheduler and its workers.

    Raises
    ------
    ConnectError
        They are incompatible. This is a warning if ``af_kit.cluster.check_versions`` is false.

    Warns
    -----
    UserWarning
        They differ in a way that may matter.
    """
    found = client.get_versions(packages=list(PACKAGES))
    workers = {name: answer["packages"] for name, answer in found["workers"].items() if answer}
    errors, doubts = compare(found["client"]["packages"], found["scheduler"]["packages"], workers)
    if all(versions.get("af_kit") for versions in workers.values()):
        doubts += environment_differences(client)
    if errors:
        message = _message("This cluster cannot run this session's functions", [*errors, *doubts])
        if config.get("cluster.check_versions"):
            raise ConnectError(message)
        warnings.warn(message, stacklevel=3)
    elif doubts:
        warnings.warn(_message("This cluster's packages differ from this session's", doubts), stacklevel=3)


def compare(client: Versions, scheduler: Versions, workers: Mapping[str, Versions]) -> tuple[list[str], list[str]]:
    """Sort version differences into errors and warnings.

    Parameters
    ----------
    client, scheduler : mapping
        Package name to version, or to None if it is not installed. ``python`` is one of the names.
    workers : mapping
        The same for each worker, by its address.

    Returns
    -------
    (list of str, list of str)
        Differences that make the cluster unusable, and those to warn about, one line each.
    """
    errors: list[str] = []
    doubts: list[str] = []
    for package in ("python", *PACKAGES):
        here = client.get(package)
        if package == "python" or package in _MESSAGES:
            there = scheduler.get(package)
            if _differ(package, here, there):
                line = f"{package}: {_name(package, here)} here, {_name(package, there)} on the scheduler"
                (errors if package == "python" or there is None else doubts).append(line)
        for there, count in _count(versions.get(package) for versions in workers.values()):
            if _differ(package, here, there):
                which = f"{count} of {len(workers)} workers"
                line = f"{package}: {_name(package, here)} here, {_name(package, there)} on {which}"
                (errors if package in ("python", "af_kit") or there is None else doubts).append(line)
    return errors, doubts


def _differ(package: str, here: str | None, there: str | None) -> bool:
    if here is None or here == there:
        return False  # a package that this session does not have is not needed on the workers
    return there is None or package == "af_kit" or here.split(".")[:2] != there.split(".")[:2]


def _count(versions: Iterable[str | None]) -> list[tuple[str | None, int]]:
    counts: dict[str | None, int] = {}
    for version in versions:
        counts[version] = counts.get(version, 0) + 1
    return sorted(counts.items(), key=str)


def _name(package: str, version: str | None) -> str:
    if version is None:
        return "not installed"
    return ".".join(version.split(".")[:3]) if package == "python" else version


def _message(start: str, lines: list[str]) -> str:
    return (
        f"{start}:\n  " + "\n  ".join(lines) + "\nStart the workers in the environment (or the container image) of "
        "this session, or this session in theirs."
    )


class Environment(NamedTuple):
    """A Python environment: its folder, and its image, or an empty string if the image is not known."""

    prefix: str
    image: str

    def __str__(self) -> str:
        return f"{self.prefix} in {self.image}" if self.image else self.prefix


def current_environment() -> Environment:
    """Return the environment of this process."""
    return Environment(sys.prefix, next((os.environ[name] for name in IMAGE_VARIABLES if os.environ.get(name)), ""))


def installed() -> dict[str, str]:
    """Return the packages of this process's environment, and their versions."""
    from importlib.metadata import distributions

    found = ((distribution.metadata["Name"], distribution.version) for distribution in distributions())
    return {name.lower().replace("_", "-"): version for name, version in found if name}


def environment_differences(client: Any) -> list[str]:
    """Return the differences between the workers' environments and this session's, one line each.

    Environments with the same folder and image are equal. Others are compared by their packages: a hub's image and a
    batch farm's shared file system can have the same packages.
    """
    session = current_environment()
    workers = {
        worker: Environment(*found) for worker, found in client.run(current_environment, on_error="ignore").items()
    }
    other = {worker: found for worker, found in workers.items() if found != session}
    if not other:
        return []
    packages = client.run(installed, workers=list(other), on_error="ignore")
    lines = compare_packages(installed(), packages)
    if lines:
        names = sorted({str(found) for found in other.values()})
        lines.insert(
            0, f"environment: {session} here, {', '.join(names[:_SHOWN])} on {len(other)} of {len(workers)} workers"
        )
    return lines


def compare_packages(session: Mapping[str, str], workers: Mapping[str, Mapping[str, str]]) -> list[str]:
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
