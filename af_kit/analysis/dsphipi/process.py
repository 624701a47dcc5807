"""Run the whole analysis over a fileset in one call."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

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
    fileset: Any,
    client: Any = None,
    *,
    engine: Literal["awkward", "numba"] = "awkward",
    muon_sf: Sequence[str | Path] | Mapping[Any, str | Path] | str | Path | None = None,
    **options: Any,
) -> Result:
    """Run the Ds analysis over all chunks of a fileset.

    Parameters
    ----------
    fileset, client, **options
        As in :func:`af_kit.process`. The tree is ``Tree3Mu/ntuple`` unless the fileset or ``treename`` names another.
    engine : {"awkward", "numba"}
        Array expressions, or the compiled loop; the results are the same.
    muon_sf : path, list of paths, or mapping of year to path, optional
        Muon scale factors (correctionlib) for the simulated datasets, a file for each year; see
        :func:`~af_kit.analysis.dsphipi.scale_factors.load`. Without them, simulation is not weighted.

    Returns
    -------
    Result
        A mapping as from :func:`analyse`, and the ``report``.

    Raises
    ------
    InputError
        If scale factors are given for data only, or for another year than that of a dataset; otherwise as
        :func:`af_kit.process`.
    """
    if engine not in ENGINES:
        raise InputError(f"The Ds analysis has no engine {engine!r}.{nearest(engine, ENGINES)}")
    if not (isinstance(fileset, list | tuple) and fileset and hasattr(fileset[0], "entry_start")):
        treename, datasets = options.pop("treename", None), options.pop("datasets", None)
        fileset = load_fileset(fileset, treename=treename, datasets=datasets, default_treename=TREENAME)
    function: Any = ENGINES[engine]
    if muon_sf is None:
        _warn_unweighted(fileset)
    else:
        factors = sf.load(muon_sf)
        _check_years(fileset, factors)
        function = functools.partial(function, scale_factors=factors)
    result = run(function, fileset, client, **options)
    _warn_clamped(result)
    return result


def _check_years(fileset: Any, factors: sf.MuonScaleFactors) -> None:
    """Refuse scale factors of another year before any file is read."""
    datasets = _metadata(fileset)
    simulated = {name: metadata for name, metadata in datasets.items() if metadata.get("isMC") is True}
    for name, metadata in (simulated or datasets).items():  # data alone: the first dataset raises
        factors.of({**metadata, "dataset": name})


def _warn_unweighted(fileset: Any) -> None:
    simulated = [name for name, metadata in _metadata(fileset).items() if metadata.get("isMC") is True]
    if simulated:
        warnings.warn(
            f"{len(simulated)} simulated dataset(s), such as {simulated[0]!r}, are not weighted by muon scale factors: "
            "pass their file as muon_sf (--muon-sf).",
            stacklevel=3,
        )


def _metadata(fileset: Any) -> dict[str, Any]:
    """Return the metadata of each dataset in a fileset or in a list of chunks."""
    if isinstance(fileset, Fileset):
        return {name: dataset.metadata for name, dataset in fileset.items()}
    return {chunk.dataset: chunk.metadata for chunk in fileset}


def _warn_clamped(result: Any) -> None:
    weighted = result.get("weighted", {}).values()
    muons = sum(counts["muons"] for counts in weighted)
    for name in ("pt", "abseta"):
        clamped = sum(counts[name] for counts in weighted)
        if clamped:
            warnings.warn(
                f"{clamped:,} of {muons:,} muons are outside the range of the scale factors in {name}: they use the "
                "value at the nearest edge.",
                stacklevel=3,
            )
