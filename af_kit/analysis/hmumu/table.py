"""One row per selected event, for training, fits and pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from af_kit.analysis.dimuon.table import repeat
from af_kit.analysis.hmumu.columns import scalar
from af_kit.analysis.hmumu.histograms import SCORE
from af_kit.analysis.hmumu.regions import CHANNELS, REGIONS
from af_kit.analysis.hmumu.variations import DIRECTIONS, NOMINAL, label_of

if TYPE_CHECKING:
    from af_kit.analysis.hmumu.analyse import Selection

__all__ = ["VARIABLES", "table"]

VARIABLES = (
    "dimuon_mass", "dimuon_mass_resolution", "dimuon_pt", "dimuon_eta", "dimuon_rapidity", "dimuon_phi",
    "cos_theta_cs", "phi_cs",
    "mu1_pt", "mu1_eta", "mu1_phi", "mu1_isolation", "mu1_charge",
    "mu2_pt", "mu2_eta", "mu2_phi", "mu2_isolation", "mu2_charge",
    "n_jets", "n_loose", "n_medium",
    "jet1_pt", "jet1_eta", "jet1_phi", "jet1_mass", "jet1_qgl", "jet1_has_genjet",
    "jet2_pt", "jet2_eta", "jet2_phi", "jet2_mass", "jet2_qgl", "jet2_has_genjet",
    "dijet_mass", "dijet_delta_eta", "dijet_delta_phi", "min_delta_eta", "min_delta_phi", "zeppenfeld", "pt_balance",
    "soft_jets_2", "soft_ht_2", "soft_jets_5", "soft_ht_5", "n_vertices",
)  # fmt: skip
"""The variables of a row. Those of jets are NaN in events without them, ``qgl`` also in campaigns without it."""


def table(events: Any, selection: Selection) -> pa.Table:
    """Return the selected events as a table, in the order of the file.

    Returns
    -------
    pyarrow.Table
        ``dataset``, ``process``, ``year``, ``file``, ``entry`` (the event's number in the file); ``run``,
        ``luminosityBlock``, ``event``; ``region``, ``channel``; the `VARIABLES` (momenta and masses in GeV, angles in
        rad); ``dnn_score``, if there is a network: arctanh of its output; ``weight``, the product of the generator
        weight and of all corrections, before the normalisation of the dataset, and ``weight_NAME`` for each of them;
        ``weight_SOURCE_up`` and ``weight_SOURCE_down``: ``weight`` with one source varied, if there are variations of
        the weights. All weights are 1 in data.
    """
    nominal, sample = selection.passes[NOMINAL], selection.sample
    variables, metadata = nominal.variables, getattr(events, "metadata", {})
    positions = variables.positions
    number = positions.size
    numbers = {
        name: scalar(events, name, positions).astype(kind)
        for name, kind in (("run", np.uint32), ("luminosityBlock", np.uint32), ("event", np.uint64))
    }
    columns: dict[str, Any] = {
        "dataset": repeat(sample.dataset, number),
        "process": repeat(sample.process, number),
        "year": np.full(number, selection.campaign.year, np.int16),
        "file": repeat(metadata.get("file", ""), number),
        "entry": metadata.get("entry_start", 0) + positions.astype(np.int64),
        **numbers,
        "region": _names(nominal.region, REGIONS),
        "channel": _names(nominal.channel, CHANNELS),
        **{name: variables.value(name) for name in VARIABLES},
        **({} if variables.dnn_score is None else {SCORE: variables.dnn_score}),
        "weight": nominal.weighted.total,
        **{f"weight_{name}": values for name, values in nominal.weighted.nominal_parts().items()},
    }
    for source in selection.weight_sources:
        for label in (label_of(source, direction) for direction in DIRECTIONS):
            columns[f"weight_{label}"] = selection.passes[label].weighted.total
    return pa.table(columns)


def _names(numbers: Any, names: tuple[str, ...]) -> pa.DictionaryArray:
    """Return numbers as the names that they stand for."""
    return pa.DictionaryArray.from_arrays(pa.array(numbers, pa.int8()), pa.array(names))
