"""Whether client, scheduler and workers can understand each other.

A function travels as the bytecode of its Python version and as names in its packages. So a difference is

- refused where results would be wrong or tasks would fail: another minor version of Python, another version of af_kit,
  a package of the kit that a worker does not have;
- warned about where it may matter: another minor version of the packages that data or messages pass through;
- warned about where the environments are two, and hold different packages: the user's function may need one of them;
- left alone otherwise: another patch release, packages of the scheduler that it never uses.
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
NEEDED = ("af_kit", "awkward", "uproot", "vector", "hist", "numpy", "numba", "dask", "distributed", "cloudpickle")
# What both ends of a message to the scheduler need.
_MESSAGES = ("dask", "distributed", "cloudpickle", "msgpack")
PACKAGES = (*NEEDED, "msgpack")

Versions = Mapping[str, str | None]


@contextlib.contextmanager
def left_to_check() -> Iterator[None]:
    """No warnings of Dask's own about versions: `check` compares more of them, and by how much each matters."""
    from distributed.versions import VersionMismatchWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VersionMismatchWarning)
        yield


def check(client: Any) -> None:
    """Compare the versions of ``client``, its scheduler and its workers.

    Raises
    ------
    ConnectError
        They cannot work together (a warning where ``af_kit.cluster.check_versions`` is false).

    Warns
    -----
    UserWarning
        They differ in a way that may matter.
    """
    found = client.get_versions(packages=list(PACKAGES))
    workers = {name: answer["packages"] for name, answer in found["workers"].items() if answer}
    refused, doubtful = compare(found["client"]["packages"], found["scheduler"]["packages"], workers)
    if all(versions.get("af_kit") for versions in workers.values()):
        doubtful += environment_diff.differences(client)
    if refused:
        message = _message("This cluster cannot run this session's functions", [*refused, *doubtful])
        if config.get("cluster.check_versions"):
            raise ConnectError(message)
        warnings.warn(message, stacklevel=3)
    elif doubtful:
        warnings.warn(_message("This cluster's packages differ from this session's", doubtful), stacklevel=3)


def compare(client: Versions, scheduler: Versions, workers: Mapping[str, Versions]) -> tuple[list[str], list[str]]:
    """Tell serious differences from others.

    Parameters
    ----------
    client, scheduler : mapping
        Package name to version; None where it is not installed. ``python`` is one of the names.
    workers : mapping
        The same for each worker, by its address.

    Returns
    -------
    (list of str, list of str)
        Differences that rule the cluster out, and those to warn about; a line each.
    """
    refused: list[str] = []
    doubtful: list[str] = []
    for package in ("python", *PACKAGES):
        here = client.get(package)
        if package == "python" or package in _MESSAGES:
            there = scheduler.get(package)
            if _differ(package, here, there):
                line = f"{package}: {_name(package, here)} here, {_name(package, there)} on the scheduler"
                (refused if package == "python" or there is None else doubtful).append(line)
        for there, count in _count(versions.get(package) for versions in workers.values()):
            if _differ(package, here, there):
                which = f"{count} of {len(workers)} workers"
                line = f"{package}: {_name(package, here)} here, {_name(package, there)} on {which}"
                (refused if package in ("python", "af_kit") or there is None else doubtful).append(line)
    return refused, doubtful


def _differ(package: str, here: str | None, there: str | None) -> bool:
    if here is None or here == there:
        return False  # what this session does not have, it cannot ask for
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


def _message(beginning: str, lines: list[str]) -> str:
    return (
        f"{beginning}:\n  " + "\n  ".join(lines) + "\nStart the workers in the environment (or the container image) of "
        "this session, or this session in theirs."
    )
