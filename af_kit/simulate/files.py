"""Several files of one simulated sample, by the sample's name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from af_kit.errors import InputError, nearest
from af_kit.simulate.dimuon import dimuon
from af_kit.simulate.dsphipi import LUMI_IFB, dsphipi
from af_kit.simulate.nanoaod import nanoaod
from af_kit.simulate.writer import check_count

__all__ = ["SAMPLES", "write_eras", "write_files"]

SAMPLES: dict[str, Callable[..., Path]] = {"dimuon": dimuon, "nanoaod": nanoaod, "dsphipi": dsphipi}
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
    _check(name, options)
    files = check_count("files", files, least=1)
    each, more = divmod(check_count("events", events), files)
    digits = len(str(files - 1))
    folder = Path(folder)
    paths = [folder / f"{name}_{index:0{digits}d}.root" for index in range(files)]
    _refuse_others(name, folder, paths)
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
    **options: Any,
) -> dict[str, list[Path]]:
    """Write a simulated `dsphipi` sample of several eras, ``FOLDER/dsphipi_ERA_0.root`` and so on.

    Parameters
    ----------
    folder, seed, **options
        As in `write_files`.
    events : int
        Events in all files together; each era has its share by luminosity.
    files : int, optional
        Files in all; by default one for each era.
    eras : iterable of str, optional
        The eras to write; all of `LUMI_IFB` by default, or as many of them as there are files.

    Returns
    -------
    dict
        The files of each era.

    Raises
    ------
    InputError
        As `write_files`; an unknown era, or fewer files than the eras that are asked for.
    """
    _check("dsphipi", options)
    wanted = list(LUMI_IFB if eras is None else dict.fromkeys(eras))
    for era in wanted:
        if era not in LUMI_IFB:
            raise InputError(f"There is no era {era!r}.{nearest(str(era), LUMI_IFB)}")
    files = check_count("files", len(wanted) if files is None else files, least=1)
    if eras is None:
        wanted = wanted[:files]
    elif not wanted or files < len(wanted):
        raise InputError(f"{files} file(s) cannot hold {len(wanted)} eras: each era needs a file of its own.")
    number = {era: files // len(wanted) + (index < files % len(wanted)) for index, era in enumerate(wanted)}
    edges = np.cumsum([0, *(LUMI_IFB[era] for era in wanted)])
    shares = np.diff(np.round(check_count("events", events) * edges / edges[-1]).astype(np.int64)).tolist()
    folder = Path(folder)
    paths = {
        era: [folder / f"dsphipi_{era}_{index:0{len(str(count - 1))}d}.root" for index in range(count)]
        for era, count in number.items()
    }
    _refuse_others("dsphipi", folder, [path for of_era in paths.values() for path in of_era])
    for (era, of_era), share in zip(paths.items(), shares, strict=True):
        each, more = divmod(share, len(of_era))
        for index, path in enumerate(of_era):
            dsphipi(path, each + (index < more), seed, file_index=index, era=era, **options)
    return paths


def _check(name: str, options: Iterable[str]) -> None:
    if name not in SAMPLES:
        raise InputError(f"There is no sample {name!r} to simulate.{nearest(str(name), SAMPLES)}")
    valid = set(inspect.signature(SAMPLES[name]).parameters) - {"path", "entries", "seed", "file_index"}
    for option in set(options) - valid:
        raise InputError(f"The sample {name!r} has no option {option!r}.{nearest(option, valid)}")


def _refuse_others(name: str, folder: Path, paths: Iterable[Path]) -> None:
    """Raise if files of this sample lie in the folder that will not be replaced."""
    others = sorted(set(folder.glob(f"{name}_*.root")) - set(paths))
    if others:
        raise InputError(
            f"{str(folder)!r} already holds {len(others)} other file(s) of this sample, such as {others[0].name}: they "
            "would be read together with the new ones. Remove them, or choose another folder."
        )
