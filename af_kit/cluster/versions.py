"""Check that the versions of client, scheduler and workers are compatible.

A function is sent as the bytecode of its Python version and as names in its packages. A difference is

- an error if results would be wrong or tasks would fail: another minor version of Python, another version of af_kit,
  or a package that the kit needs and a worker does not have;
- a warning if it may matter: another minor version of a package that handles data or messages, or environments with
  different packages, as the user's function may need one of them;
- ignored otherwise: another patch release, or packages that the scheduler never uses.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from af_kit import config
from af_kit.cluster import environment_diff
from af_kit.errors import ConnectError

# What a worker needs to run the kit's tasks.
REQUIRED = ("af_kit", "awkward", "uproot", "vector", "hist", "numpy", "numba", "dask", "distributed", "cloudpickle")
# What both sides need to exchange messages with the scheduler.
_MESSAGES = ("dask", "distributed", "cloudpickle", "msgpack")
PACKAGES = (*REQUIRED, "msgpack")

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
        doubts += environment_diff.differences(client)
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
