"""What of this machine's files the workers see: all of them are asked, and what has to be carried is told."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from af_kit import config
from af_kit.data.transport.io_errors import is_remote, local_path
from af_kit.errors import InputError

__all__ = ["Stamp", "amount", "files_here", "lacking", "limit", "same_machine", "stamp_of"]

_SHOWN = 3

Stamp = tuple[int, int, int]
"""Size, time of change and inode: what differs when a file was written anew."""


def files_here(files: Sequence[tuple[str, ...]]) -> dict[str, Stamp]:
    """The local files that exist on this machine, of those without a URL, and what each is now."""
    found = {}
    for replicas in files:
        if any(map(is_remote, replicas)):
            continue
        for path in map(local_path, replicas):
            stamp = stamp_of(path)
            if stamp is not None:
                found[path] = stamp
    return found


def stamp_of(path: str) -> Stamp | None:
    """What a file is now; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - asked for every file of every run
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def same_machine(client: Any) -> bool:
    """Whether the workers are processes or threads that this session has started here."""
    from distributed import LocalCluster

    address = str(getattr(client.scheduler, "address", ""))
    return isinstance(client.cluster, LocalCluster) or address.startswith("inproc://")


def limit() -> int:
    """Most bytes that are carried, ``af_kit.data.upload_limit``."""
    from dask.utils import parse_bytes

    given = config.get("data.upload_limit")
    try:
        return int(parse_bytes(given))
    except ValueError as error:
        raise InputError(f'af_kit.data.upload_limit is {given!r}: a size such as "1 GiB" is expected, or 0.') from error


def lacking(
    client: Any, files: Sequence[tuple[str, ...]], here: Mapping[str, Stamp]
) -> tuple[dict[str, Stamp], list[str]]:
    """The files to carry, and what to remark.

    Raises
    ------
    InputError
        They are more than the limit, and some of them no worker sees.
    """
    paths = list(here)
    answers = _ask(client, paths)
    sizes = {path: [answer[i] for answer in answers] for i, path in enumerate(paths)}
    missing: dict[str, Stamp] = {}
    unseen: dict[str, Stamp] = {}
    for replicas in files:
        own = [path for path in map(local_path, replicas) if path in here]
        sees = [any(sizes[path][i] >= 0 for path in own) for i in range(len(answers))]
        if own and not all(sees):
            missing[own[0]] = here[own[0]]
            if not any(sees):
                unseen[own[0]] = here[own[0]]
    notes = _differing(here, sizes)
    if not missing:
        return {}, notes
    if sum(stamp[0] for stamp in missing.values()) > limit():
        if unseen:
            raise _too_much(missing)
        which = f"{amount(missing.values())} ({_names(missing)})"
        notes.append(f"{which} are not seen by every worker, and more than af_kit.data.upload_limit: not uploaded.")
        return {}, notes
    notes.append(f"{amount(missing.values())} of this machine, which workers do not see, were read there from copies.")
    return missing, notes


def _ask(client: Any, paths: list[str]) -> list[list[int]]:
    """What each worker sees at these paths. Where there is none yet, the first one that comes is asked."""
    from af_kit.plugins.credential_handle import ask_workers

    answers = ask_workers(client, _sizes, paths)
    if answers:
        return list(answers.values())
    future = client.submit(_sizes, paths, pure=False, retries=2)
    try:
        return [future.result()]
    finally:
        future.release()


def _sizes(paths: Sequence[str]) -> list[int]:
    """Bytes of what is at these paths here; -1 for nothing."""
    found = []
    for path in paths:
        try:
            found.append(os.stat(path).st_size)  # noqa: PTH116 - as in stamp_of
        except OSError:
            found.append(-1)
    return found


def _differing(here: Mapping[str, Stamp], sizes: Mapping[str, Sequence[int]]) -> list[str]:
    notes = []
    for path, found in sizes.items():
        others = sorted({size for size in found if size >= 0} - {here[path][0]})
        if others:
            notes.append(f"{path} has {here[path][0]} bytes here and {others[0]} on a worker, which reads its own.")
    return notes if len(notes) <= _SHOWN else [*notes[:_SHOWN], f"The same for {len(notes) - _SHOWN} more files."]


def _too_much(missing: Mapping[str, Stamp]) -> InputError:
    from dask.utils import format_bytes

    allowed = f"at most {format_bytes(limit())} is" if limit() else "none is"
    return InputError(
        f"The workers do not see this machine's disk, on which {amount(missing.values())} of this run are "
        f"({_names(missing)}), and {allowed} carried to them (af_kit.data.upload_limit). Put the files where workers "
        "reach them: behind a URL (root://, https://), or in a folder that they mount (on Kubernetes: volumes=[...], "
        'volume_mounts=[...]); or allow more: dask.config.set({"af_kit.data.upload_limit": "4 GiB"}).'
    )


def amount(stamps: Iterable[Stamp]) -> str:
    """How many files, and how much."""
    from dask.utils import format_bytes

    sizes = [stamp[0] for stamp in stamps]
    return f"{len(sizes)} file{'' if len(sizes) == 1 else 's'} ({format_bytes(sum(sizes))})"


def _names(paths: Iterable[str]) -> str:
    names = list(paths)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
