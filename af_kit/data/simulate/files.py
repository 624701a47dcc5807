"""Several files of one simulated sample, by the sample's name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from af_kit.data.simulate.dimuon import dimuon
from af_kit.data.simulate.nanoaod import nanoaod
from af_kit.data.simulate.writer import check_count
from af_kit.errors import InputError, nearest

__all__ = ["SAMPLES", "write_files"]

SAMPLES: dict[str, Callable[..., Path]] = {"dimuon": dimuon, "nanoaod": nanoaod}
"""Name to function ``(path, entries, seed, *, file_index=0, ...)`` that writes one file."""


def write_files(
    name: str, folder: str | Path, events: int, files: int = 1, seed: int = 1, **options: Any
) -> list[Path]:
    """Write a simulated sample of ``events`` events in ``files`` files, ``FOLDER/NAME_0.root`` and so on.

    Parameters
    ----------
    name : str
        One of `SAMPLES`.
    folder : path
        Where to write; made if needed. Files of the same names are replaced.
    events : int
        Events in all files together; the first files hold one more where it does not divide.
    files : int
        Number of files, at least 1. Their numbers have equally many digits, so that names sort as numbers.
    seed : int
        The same numbers give the same files.
    **options
        Passed to the sample's function: compression, cluster_entries, kind, ...

    Returns
    -------
    list of Path
        The files, in order.

    Raises
    ------
    InputError
        An unknown sample or option, a wrong number, or a folder that holds other files of this sample: a glob over
        the folder would mix two samples.
    """
    if name not in SAMPLES:
        raise InputError(f"There is no sample {name!r} to simulate.{nearest(str(name), SAMPLES)}")
    valid = set(inspect.signature(SAMPLES[name]).parameters) - {"path", "entries", "seed", "file_index"}
    for option in options.keys() - valid:
        raise InputError(f"The sample {name!r} has no option {option!r}.{nearest(option, valid)}")
    files = check_count("files", files, least=1)
    each, more = divmod(check_count("events", events), files)
    digits = len(str(files - 1))
    folder = Path(folder)
    paths = [folder / f"{name}_{index:0{digits}d}.root" for index in range(files)]
    others = sorted(set(folder.glob(f"{name}_*.root")) - set(paths))
    if others:
        raise InputError(
            f"{str(folder)!r} already holds {len(others)} other file(s) of this sample, such as {others[0].name}: they "
            "would be read together with the new ones. Remove them, or choose another folder."
        )
    return [
        SAMPLES[name](path, each + (index < more), seed, file_index=index, **options)
        for index, path in enumerate(paths)
    ]
