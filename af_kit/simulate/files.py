"""Write several files of a simulated sample."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from af_kit.display.progress import Progress
from af_kit.errors import InputError, nearest
from af_kit.simulate.dimuon import dimuon
from af_kit.simulate.dsphipi import LUMI_IFB, dsphipi
from af_kit.simulate.nanoaod import nanoaod
from af_kit.simulate.writer import check_count, watched

SAMPLES: dict[str, Callable[..., Path]] = {"dimuon": dimuon, "nanoaod": nanoaod, "dsphipi": dsphipi}
"""Sample name to a function ``(path, entries, seed, *, file_index=0, ...)`` that writes one file."""


def write_files(
    name: str,
    folder: str | Path,
    events: int,
    files: int = 1,
    seed: int = 1,
    *,
    progress: bool | None = None,
    **options: Any,
) -> list[Path]:
    """Write a simulated sample of ``events`` events to ``files`` files, ``FOLDER/NAME_0.root`` and so on.

    Parameters
    ----------
    name : str
        One of `SAMPLES`.
    folder : path
        Created if needed. Existing files of the same names are replaced.
    events : int
        Total number of events; if it is not divisible by the number of files, the first files have one more.
    files : int
        Number of files, at least 1. File numbers are padded with zeros, so that names sort as numbers.
    seed : int
        The same arguments reproduce the same events.
    progress : bool, optional
        Show a progress bar; by default on a terminal and in a notebook.
    **options
        Passed to the sample's function: compression, cluster_entries, kind, ...

    Returns
    -------
    list of Path
        The files, in order.

    Raises
    ------
    InputError
        If the sample or an option is unknown, a number is invalid, or the folder contains other files of this sample,
        which a glob over the folder would mix with the new ones.

    Examples
    --------
    >>> import af_kit as af
    >>> [path.name for path in af.write_files("dimuon", "samples", 1000, files=2, seed=1)]
    ['dimuon_0.root', 'dimuon_1.root']
    """
    _check(name, options)
    files = check_count("files", files, least=1)
    each, more = divmod(check_count("events", events), files)
    digits = len(str(files - 1))
    folder = Path(folder)
    paths = [folder / f"{name}_{index:0{digits}d}.root" for index in range(files)]
    _refuse_others(name, folder, paths)
    with Progress(events, progress, what="simulate", unit="events") as bar, watched(bar.update):
        return [
            SAMPLES[name](path, each + (index < more), seed, file_index=index, **options)
            for index, path in enumerate(paths)
        ]


def write_eras(
    folder: str | Path,
    events: int,
    files: int | None = None,
    seed: int = 1,
    *,
    eras: Iterable[str] | None = None,
    progress: bool | None = None,
    **options: Any,
) -> dict[str, list[Path]]:
    """Write a simulated `dsphipi` sample of several eras to ``FOLDER/dsphipi_ERA_0.root`` and so on.

    Parameters
    ----------
    folder, seed, progress, **options
        As in `write_files`.
    events : int
        Total number of events, divided between the eras by luminosity.
    files : int, optional
        Total number of files; by default one per era.
    eras : iterable of str, optional
        The eras to write; by default all of `LUMI_IFB`, or the first of them if there are fewer files.

    Returns
    -------
    dict
        The files of each era.

    Raises
    ------
    InputError
        As for `write_files`, or if an era is unknown or there are fewer files than requested eras.
    """
    _check("dsphipi", options)
    chosen = list(LUMI_IFB if eras is None else dict.fromkeys(eras))
    for era in chosen:
        if era not in LUMI_IFB:
            raise InputError(f"There is no era {era!r}.{nearest(str(era), LUMI_IFB)}")
    files = check_count("files", len(chosen) if files is None else files, least=1)
    if eras is None:
        chosen = chosen[:files]
    elif not chosen or files < len(chosen):
        raise InputError(f"{files} file(s) are too few for {len(chosen)} eras: each era needs at least one file.")
    number = {era: files // len(chosen) + (index < files % len(chosen)) for index, era in enumerate(chosen)}
    edges = np.cumsum([0, *(LUMI_IFB[era] for era in chosen)])
    shares = np.diff(np.round(check_count("events", events) * edges / edges[-1]).astype(np.int64)).tolist()
    folder = Path(folder)
    paths = {
        era: [folder / f"dsphipi_{era}_{index:0{len(str(count - 1))}d}.root" for index in range(count)]
        for era, count in number.items()
    }
    _refuse_others("dsphipi", folder, [path for of_era in paths.values() for path in of_era])
    with Progress(sum(shares), progress, what="simulate", unit="events") as bar, watched(bar.update):
        for (era, of_era), share in zip(paths.items(), shares, strict=True):
            each, more = divmod(share, len(of_era))
            for index, path in enumerate(of_era):
                dsphipi(path, each + (index < more), seed, file_index=index, era=era, **options)
    return paths


def _check(name: str, options: Iterable[str]) -> None:
    if name not in SAMPLES:
        raise InputError(f"There is no simulated sample {name!r}.{nearest(str(name), SAMPLES)}")
    valid = set(inspect.signature(SAMPLES[name]).parameters) - {"path", "entries", "seed", "file_index"}
    for option in set(options) - valid:
        raise InputError(f"The sample {name!r} has no option {option!r}.{nearest(option, valid)}")


def _refuse_others(name: str, folder: Path, paths: Iterable[Path]) -> None:
    """Raise if the folder contains files of this sample that would not be replaced."""
    others = sorted(set(folder.glob(f"{name}_*.root")) - set(paths))
    if others:
        raise InputError(
            f"{str(folder)!r} already contains {len(others)} other file(s) of this sample, such as {others[0].name}, "
            "which would be read together with the new ones. Remove them, or choose another folder."
        )
