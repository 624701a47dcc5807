"""The whole analysis in one call: the only file of this folder that knows how chunks are run."""

from __future__ import annotations

import functools
import warnings
from typing import Any

from af_kit.analysis.dsphipi import scale_factors as sf
from af_kit.analysis.dsphipi.analyse import analyse
from af_kit.analysis.dsphipi.kernel import analyse_numba
from af_kit.analysis.dsphipi.steps import TREENAME
from af_kit.data.fileset.load import Fileset, load_fileset
from af_kit.errors import InputError, nearest
from af_kit.run.process import process as run
from af_kit.run.result import Result

ENGINES = {"awkward": analyse, "numba": analyse_numba}


def process(
    fileset: Any, client: Any = None, *, engine: str = "awkward", muon_sf: Any = None, **options: Any
) -> Result:
    """Run the Ds analysis over all chunks of a fileset.

    Parameters
    ----------
    fileset, client, **options
        As in :func:`af_kit.process`. Where nothing names the tree, it is ``Tree3Mu/ntuple``.
    engine : {"awkward", "numba"}
        Array expressions, or the compiled loop; the results are the same.
    muon_sf : path, list of paths, or mapping of year to path, optional
        Muon scale factors for the simulation among the datasets
        (:func:`~af_kit.analysis.dsphipi.scale_factors.load`). Without them it is not weighted.

    Returns
    -------
    Result
        A mapping as from :func:`analyse`, and the ``report``.

    Raises
    ------
    InputError
        Scale factors for data alone, or for another year than a dataset's; otherwise as :func:`af_kit.process`.
    """
    if engine not in ENGINES:
        raise InputError(f"There is no engine {engine!r} for the Ds analysis.{nearest(engine, ENGINES)}")
    if not (isinstance(fileset, list | tuple) and fileset and hasattr(fileset[0], "entry_start")):
        treename, datasets = options.pop("treename", None), options.pop("datasets", None)
        fileset = load_fileset(fileset, treename=treename, datasets=datasets, default_treename=TREENAME)
    function: Any = ENGINES[engine]
    if muon_sf is None:
        _tell_unweighted(fileset)
    else:
        factors = sf.load(muon_sf)
        _check(fileset, factors)
        function = functools.partial(function, scale_factors=factors)
    result = run(function, fileset, client, **options)
    _tell_clamped(result)
    return result


def _check(fileset: Any, factors: sf.MuonScaleFactors) -> None:
    """Refuse scale factors that are not these datasets' own, before anything is read."""
    datasets = _metadata(fileset)
    simulated = {name: metadata for name, metadata in datasets.items() if metadata.get("isMC") is True}
    # With data alone, the first dataset's own refusal says why.
    for name, metadata in (simulated or datasets).items():
        factors.of({**metadata, "dataset": name})


def _tell_unweighted(fileset: Any) -> None:
    """Say that simulation goes without its scale factors."""
    simulated = [name for name, metadata in _metadata(fileset).items() if metadata.get("isMC") is True]
    if simulated:
        warnings.warn(
            f"{len(simulated)} simulated dataset(s), such as {simulated[0]!r}, are not weighted by muon scale factors: "
            "muon_sf (--muon-sf) names their file.",
            stacklevel=3,
        )


def _metadata(fileset: Any) -> dict[str, Any]:
    """What is known of each dataset of a fileset, or of chunks of it."""
    if isinstance(fileset, Fileset):
        return {name: dataset.metadata for name, dataset in fileset.items()}
    return {chunk.dataset: chunk.metadata for chunk in fileset}


def _tell_clamped(result: Any) -> None:
    """Say how many muons had to take the scale factors of the edge."""
    weighted = result.get("weighted", {}).values()
    muons = sum(counts["muons"] for counts in weighted)
    for name in ("pt", "abseta"):
        clamped = sum(counts[name] for counts in weighted)
        if clamped:
            warnings.warn(
                f"{clamped:,} of {muons:,} muons are outside of the range of the scale factors in {name}: they "
                "have those of the nearest edge.",
                stacklevel=3,
            )
