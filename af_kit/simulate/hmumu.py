"""Write all that a H -> mu mu analysis reads: simulated data and simulation, calibration files, and a fileset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from af_kit.display.progress import Progress
from af_kit.errors import InputError
from af_kit.simulate.calibrations import calibrations
from af_kit.simulate.nano.campaigns import Campaign, campaign
from af_kit.simulate.nano.datasets import datasets
from af_kit.simulate.nano.recorded import golden_json, numbers
from af_kit.simulate.nano.sample import data_lumi_ipb, write_sample
from af_kit.simulate.writer import check_count, replacing, watched


def write_hmumu(
    folder: str | Path,
    year: int,
    *,
    events: int,
    files: int = 1,
    seed: int = 1,
    compression: str = "ZSTD-5",
    progress: bool | None = None,
) -> Path:
    """Write a small H -> mu mu analysis to a folder: samples, ``calibrations/`` and ``fileset.yaml``.

    There are data (40% of the events), Drell-Yan with m > 50 and with 105 < m < 160, its twin in which the two leading
    generator jets have a mass above 350 GeV, electroweak production of leptons and jets, top-quark pairs, dibosons, and
    Higgs bosons from gluon fusion and vector-boson fusion. The metadata hold ``isMC``, ``year``, ``xsec_pb``,
    ``process``. Their ``lumi_ifb`` is that of the certified part of the simulated data, so that data and
    scaled simulation agree: a few 1/pb for a million events.

    Parameters
    ----------
    folder : path
        Created if needed. Existing files of the same names are replaced.
    year : int
        2016, 2017, 2018, or 2022: its simulation is scaled with cross-sections at 13 TeV.
    events : int
        Total number of events.
    files : int
        Files of each dataset.
    seed : int
        The same arguments reproduce the same events.
    compression : str
        As in `nanoaod`.
    progress : bool, optional
        Show a progress bar; by default on a terminal and in a notebook.

    Returns
    -------
    Path
        The fileset, for `load_fileset`.

    Raises
    ------
    InputError
        If a number is invalid, there is no such year, or a file cannot be written; or the folder has other ROOT files,
        which a glob over the folder would mix with the new ones.
    """
    import yaml

    of_year, folder = campaign(year), Path(folder)
    events, files = check_count("events", events), check_count("files", files, least=1)
    known = datasets(of_year)
    edges = np.cumsum([0.0, *(dataset.share for dataset in known)])
    shares = np.diff(np.round(events * edges / edges[-1]).astype(np.int64)).tolist()
    sizes = {
        dataset.name: [share // files + (index < share % files) for index in range(files)]
        for dataset, share in zip(known, shares, strict=True)
    }
    _refuse_others(
        folder, {f"{name}_{index}.root" for name, of_files in sizes.items() for index in range(len(of_files))}
    )
    calibrations(folder / "calibrations", year)
    certified = sum(_certified(of_year, size, index) for index, size in enumerate(sizes["data"]))
    lumi_ifb = float(f"{data_lumi_ipb(certified) / 1000:.6g}")
    fileset = {}
    with Progress(events, progress, what="simulate", unit="events") as bar, watched(bar.update):
        for number, dataset in enumerate(known):
            # Datasets are independent of each other: each has a seed of its own.
            own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
            options: dict[str, Any] = {"kind": dataset.kind, "year": year, "compression": compression}
            paths = [folder / f"{dataset.name}_{index}.root" for index in range(files)]
            for index, (path, size) in enumerate(zip(paths, sizes[dataset.name], strict=True)):
                write_sample(path, size, own_seed, file_index=index, **options)
            fileset[dataset.name] = {
                "treename": "Events",
                "files": [path.name for path in paths],
                "metadata": dataset.metadata(of_year, lumi_ifb),
            }
    path = folder / "fileset.yaml"
    with replacing(path) as part:
        part.write_text(yaml.safe_dump(fileset, sort_keys=False), encoding="utf-8")
    return path


def _certified(of_year: Campaign, events: int, file_index: int) -> int:
    """Return the number of events of a data file in certified luminosity blocks."""
    found = numbers(of_year, 0, events, file_index=file_index)
    run, lumi = found["run"], found["luminosityBlock"]
    ranges = [(int(of), low, high) for of, blocks in golden_json(of_year).items() for low, high in blocks]
    return sum(int(((run == of) & (lumi >= low) & (lumi <= high)).sum()) for of, low, high in ranges)


def _refuse_others(folder: Path, names: set[str]) -> None:
    others = sorted(path.name for path in folder.glob("*.root") if path.name not in names)
    if others:
        raise InputError(
            f"{str(folder)!r} already contains {len(others)} other ROOT file(s), such as {others[0]}, which would be "
            "read together with the new ones. Remove them, or choose another folder."
        )
