"""The files that a bench reads: simulated ones, made once, or a part of the user's fileset."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from af_kit.analysis.output import write_text
from af_kit.data.fileset.datasets import File, Fileset

__all__ = ["network", "part", "sample"]

# Events of a file: real ones have about as many, and a worker of a large farm has work for some seconds.
_EVENTS_PER_FILE = 1_000_000
_SEED = 1


def sample(kind: str, events: int, folder: Path) -> Path:
    """Return the fileset of a simulated sample, which is made if it does not exist.

    Parameters
    ----------
    kind : {"dimuon", "nanoaod", "dsphipi", "hmumu"}
        The sample; ``hmumu`` also gets calibration files, in ``calibrations/``.
    events : int
        Events in all files.
    folder : Path
        Where the samples of a bench are; the workers must see it.
    """
    own = folder / f"{kind}-{events}"
    path = own / "fileset.yaml"
    if not path.exists():  # it is written last
        _SIMULATE[kind](own, events)
    return path


def _hmumu(folder: Path, events: int) -> None:
    from af_kit.simulate import write_hmumu

    write_hmumu(folder, 2018, events=events, files=_files(events, least=1), seed=_SEED)


def _dsphipi(folder: Path, events: int) -> None:
    from af_kit.simulate import write_eras
    from af_kit.simulate.dsphipi import LUMI_IFB, TREENAME

    files = write_eras(folder, events, len(LUMI_IFB) * _files(events, least=1), _SEED)
    _write(folder, {era: (TREENAME, paths, {"isMC": False, "era": era}) for era, paths in files.items()})


def _flat(kind: str) -> Callable[[Path, int], None]:
    def simulate(folder: Path, events: int) -> None:
        from af_kit.simulate import write_files

        files = write_files(kind, folder, events, _files(events, least=4), _SEED)
        _write(folder, {kind: ("Events", files, {"isMC": True})})

    return simulate


_SIMULATE = {"dimuon": _flat("dimuon"), "nanoaod": _flat("nanoaod"), "dsphipi": _dsphipi, "hmumu": _hmumu}


def _files(events: int, *, least: int) -> int:
    return max(least, -(-events // _EVENTS_PER_FILE))


def _write(folder: Path, datasets: dict[str, tuple[str, list[Path], dict[str, Any]]]) -> None:
    import yaml

    fileset = {
        name: {"treename": treename, "files": [path.name for path in paths], "metadata": metadata}
        for name, (treename, paths, metadata) in datasets.items()
    }
    write_text(yaml.safe_dump(fileset, sort_keys=False), folder / "fileset.yaml")


def network(fileset: Path, folder: Path) -> Path:
    """Return the folder of a network for ``hmumu-dnn``, which is trained on a simulated sample if it does not exist.

    It is trained for two epochs only: evaluating it takes as long as evaluating a better one.

    Raises
    ------
    MissingExtraError
        keras or onnx is not installed.
    InputError
        The sample has too few events in a fold.
    """
    own = folder / "network"
    if not (own / "network.json").exists():  # it is written last
        from af_kit.analysis import hmumu

        selected = hmumu.process(fileset, calibrations=fileset.parent / "calibrations")
        selected.report.check()
        trained = hmumu.train(selected, channels=("ggh_2jets", "vbf"), epochs=2, seed=_SEED)
        trained.write(own, plots=False)
    return own


def part(fileset: Fileset, entries: dict[str, int], events: int) -> Fileset:
    """Return the first files of each dataset, so many that together they have about ``events`` entries.

    Parameters
    ----------
    entries : dict
        Entries of each file, by its path.
    """
    share = events / max(1, sum(entries.values()))
    datasets = []
    for dataset in fileset.values():
        wanted = share * sum(entries[file.path] for file in dataset.files)
        files: list[File] = []
        have = 0
        for file in dataset.files:
            if files and have >= wanted:
                break
            files.append(file)
            have += entries[file.path]
        datasets.append(dataclasses.replace(dataset, files=tuple(files)))
    return Fileset(datasets)


def entries_of(fileset: Fileset) -> dict[str, int]:
    """Return the entries of each file, by its path; every file is opened."""
    from af_kit.run.plan import plan

    found: Counter[str] = Counter()
    for chunk in plan(fileset):
        found[chunk.file] += len(chunk)
    return {file.path: found[file.path] for dataset in fileset.values() for file in dataset.files}
