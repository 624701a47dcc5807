"""Run the whole analysis over a fileset in one call: check, select, merge, normalise."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from af_kit.analysis.hmumu import histograms as hists
from af_kit.analysis.hmumu.analyse import MODES, analyse
from af_kit.analysis.hmumu.calibrations import Calibrations, load_calibrations
from af_kit.analysis.hmumu.campaign import Campaign, load_campaign
from af_kit.analysis.hmumu.check import check_datasets
from af_kit.analysis.hmumu.merged import finished
from af_kit.analysis.hmumu.score import Network, check_scored, load_network
from af_kit.data.fileset.load import Fileset, load_fileset
from af_kit.errors import InputError, ReadError, nearest
from af_kit.run.process import process as run
from af_kit.run.result import Result

__all__ = ["add_options", "process", "sums_of_weights"]


def process(
    fileset: Any,
    client: Any = None,
    *,
    campaign: str | int | Path | Campaign | None = None,
    calibrations: str | Path | Calibrations | None = None,
    corrections: str | Iterable[str] = "all",
    golden_json: str | Path | None = None,
    variations: str = "none",
    histograms: Iterable[str] = hists.ALL,
    varied: Iterable[str] = hists.VARIED,
    network: str | Path | Network | None = None,
    **options: Any,
) -> Result:
    """Run the selection of H -> mu mu over all chunks of a fileset, and normalise the simulation to the luminosity.

    Parameters
    ----------
    fileset, client, **options
        As in :func:`af_kit.process`. The metadata of each dataset: ``year``; for simulation ``process`` (one of
        `PROCESSES`) and ``xsec_pb``; and, where they apply, ``stitching``, ``shower``, ``generator``, ``lha_ids``.
    campaign
        A year or the path of a campaign; by default the ``year`` that all datasets have in common.
    calibrations
        The folder of the campaign's calibration files, or loaded ones.
    corrections
        "all", "none" (FSR recovery and GeoFit only), or a choice of `CORRECTIONS`: ``"all,-btag"``.
    golden_json
        The list of good luminosity blocks, if it is not the campaign's in the folder.
    variations, histograms, varied
        As for :func:`analyse`.
    network
        The folder of a network from `train`, or a loaded one: adds the histogram and the column ``dnn_score``.

    Returns
    -------
    Result
        ``histograms``: for each dataset and variable, with the axes ``region``, ``channel``, ``variation`` and the
        variable; expected events in the campaign's luminosity. ``cutflow``: for each dataset ``events`` and
        ``weighted``. ``candidates``: one row per selected event, with weights before normalisation. ``normalisation``:
        for each simulated dataset and variation the factors on these weights. ``luminosity_blocks``: those of data
        that were ``processed``, and those of the golden JSON that are ``missing``. ``campaign``: its name;
        ``lacking``: what it lacks for publication. ``network``: the SHA-256 of the network, if there is one.

    Raises
    ------
    InputError
        Before any event is read: a branch of the campaign is not in the files, the years differ, a calibration file is
        missing, a simulated dataset has no cross-section; otherwise as :func:`af_kit.process`.
    """
    if options.pop("engine", "numba") != "numba":
        raise InputError('The H -> mu mu analysis has one implementation: compiled loops. Leave out engine="awkward".')
    if variations not in MODES:
        raise InputError(f"variations={variations!r} is not known.{nearest(variations, MODES)}")
    scored = network is not None
    names, varied = hists.check_names(histograms, scored=scored), hists.check_names(varied, scored=scored)
    datasets = load_fileset(fileset, treename=options.pop("treename", None), datasets=options.pop("datasets", None))
    known = load_campaign(_common_year(datasets) if campaign is None else campaign)
    if not isinstance(calibrations, Calibrations):
        calibrations = load_calibrations(calibrations, known, corrections=corrections, golden_json=golden_json)
    elif calibrations.campaign != known:
        raise InputError(f"The calibrations are of {calibrations.campaign.name}, and the campaign is {known.name}.")
    loaded = network if network is None or isinstance(network, Network) else load_network(network)
    if loaded is not None:
        check_scored(loaded, known)
    samples, datasets = check_datasets(datasets, known, calibrations, variations)
    if not known.for_publication:
        warnings.warn(
            f"The campaign {known.name} is not for publication: it lacks {', '.join(known.lacking)}.", stacklevel=2
        )
    if calibrations.golden_json is None and not all(sample.is_mc for sample in samples.values()):
        warnings.warn("Data are not restricted to good luminosity blocks: there is no golden JSON.", stacklevel=2)
    function = functools.partial(
        analyse,
        campaign=known,
        calibrations=calibrations,
        variations=variations,
        histograms=names,
        varied=varied,
        network=loaded,
    )
    normalised = {name for name, sample in samples.items() if sample.is_mc and sample.xsec_pb is not None}
    sumw = sums_of_weights(datasets, normalised, client)

    def finish(merged: Mapping[str, Any]) -> dict[str, Any]:
        network_used = {} if loaded is None else {"network": loaded.digest}
        return finished(merged, samples, known, sumw, calibrations) | network_used

    return run(function, datasets, client, finish=finish, **options)


def add_options(parser: Any) -> None:
    """Add the arguments of `process` that ``af-kit run hmumu`` takes."""
    parser.add_argument(
        "--year", dest="campaign", metavar="Y", help="2016, 2017, 2018, 2022, or the path of your own campaign (YAML)"
    )
    parser.add_argument(
        "--calibrations", metavar="DIR", help="folder with the campaign's calibration files, and its golden JSON"
    )
    parser.add_argument(
        "--corrections",
        metavar="all|none|NAME,...",
        help="corrections to apply (default: all; none: FSR recovery and GeoFit only; all,-btag: all but one)",
    )
    parser.add_argument("--golden-json", metavar="FILE", help="good luminosity blocks, if not the campaign's in DIR")
    parser.add_argument(
        "--variations",
        choices=MODES,
        help="systematic variations: none (default), of the weights, or also of jets and muons",
    )
    parser.add_argument("--network", metavar="DIR", help="score events with a network from af-kit train hmumu")


def sums_of_weights(datasets: Fileset, names: Iterable[str], client: Any = None) -> dict[str, float]:
    """Return the sum of generator weights over all files of datasets, from their ``Runs`` trees.

    Files that fail later count as well: their events are missing from the result, and the report says so.

    Raises
    ------
    InputError
        A file cannot be read, or has no such tree: a sum over the other files would scale the simulation wrongly.
    """
    runs = [
        dataclasses.replace(
            dataset, files=tuple(dataclasses.replace(file, treename="Runs", entries=None) for file in dataset.files)
        )
        for name, dataset in datasets.items()
        if name in set(names)
    ]
    if not runs:
        return {}
    advice = "Without it the simulation cannot be normalised. Repair the file, or remove it from the fileset."
    try:
        result = run(_sum_of_runs, Fileset(runs), client, progress=False, on_error="collect")
    except ReadError as error:
        raise InputError(f"The sum of generator weights cannot be read: {error} {advice}") from error
    if not result.report.complete:
        failure = result.report.failures[0]
        where = f"the Runs tree of {failure.file}"
        raise InputError(f"The sum of generator weights cannot be read from {where}: {failure.reason} {advice}")
    return dict(result["sumw"])


def _sum_of_runs(events: Any) -> dict[str, Any]:
    # Older files have an underscore at the end of the name.
    name = "genEventSumw" if "genEventSumw" in events.fields else "genEventSumw_"
    total = float(np.sum(np.asarray(events[name]), dtype=np.float64))
    if not np.isfinite(total):
        raise InputError(f"The sum of generator weights is {total}.")
    return {"sumw": {events.metadata["dataset"]: total}}


def _common_year(datasets: Fileset) -> str:
    years = {str(dataset.metadata["year"]) for dataset in datasets.values() if "year" in dataset.metadata}
    if len(years) == 1:
        return years.pop()
    if years:
        raise InputError(
            f"The datasets are of {', '.join(sorted(years))}. Run each year by itself: --year with --datasets."
        )
    raise InputError(
        "No dataset has a year, so the campaign is unknown: add `year: 2018` to the metadata, or pass "
        'campaign="2018" (--year 2018).'
    )
