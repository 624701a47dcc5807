"""Data and simulation agree for the luminosity in the metadata."""

import awkward as ak
import numpy as np
import pytest

from af_kit.simulate.nano.campaigns import YEARS, campaign
from af_kit.simulate.nano.datasets import datasets
from af_kit.simulate.nano.sample import DY_PB, KINDS, data_lumi_ipb


def test_luminosity_is_that_of_the_data(tools):
    """Z bosons of the data and of the simulation, scaled by cross-section and luminosity, are as many."""
    data, simulated = tools.drawn("data", 2017, 20_000), tools.drawn("dy", 2017)
    generated = ak.to_numpy(simulated.genWeight).astype(float)
    counts = []
    for events in (data, simulated):
        chosen, muons = tools.pairs(events, 2017)
        mass = tools.mass(muons)
        at_peak = (mass > 81) & (mass < 101)
        weight = ak.to_numpy(chosen.genWeight).astype(float) if "genWeight" in chosen.fields else np.ones(len(chosen))
        counts.append(weight[at_peak].sum())
    expected = counts[1] / generated.sum() * DY_PB * data_lumi_ipb(20_000)
    assert counts[0] == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("year", YEARS)
def test_every_dataset_has_a_kind_and_a_cross_section(year):
    known = datasets(campaign(year))
    assert sum(dataset.share for dataset in known) == pytest.approx(1)
    for dataset in known:
        metadata = dataset.metadata(campaign(year), 1.0)
        assert dataset.kind in KINDS
        assert metadata["isMC"] == (KINDS[dataset.kind].weights is not None) == ("xsec_pb" in metadata)
