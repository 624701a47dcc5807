"""NNLOPS weights: interpolation, number of jets, ends of the graphs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import uproot
from cms_files import cms_file

from af_kit.corrections.nnlops import NNLOPS
from af_kit.errors import InputError


@pytest.fixture
def small(write_root) -> NNLOPS:
    graphs = {
        f"gr_NNLOPSratio_pt_powheg_{jets}jet": uproot.as_TGraph(
            pd.DataFrame({"x": [10.0, 20.0, 100.0], "y": [1.0 + jets, 2.0 + jets, 4.0 + jets]})
        )
        for jets in range(4)
    }
    return NNLOPS.load(write_root("nnlops.root", graphs), generator="powheg")


def test_linear_between_the_points_and_flat_outside(small: NNLOPS) -> None:
    found = small.weight(np.array([0.0, 10.0, 15.0, 60.0, 100.0, 900.0]), np.zeros(6, dtype=int))
    assert found.nominal.tolist() == [1.0, 1.0, 1.5, 3.0, 4.0, 4.0]
    assert found.variations == {}


def test_three_jets_or_more(small: NNLOPS) -> None:
    assert small.weight(np.full(5, 10.0), np.arange(5)).nominal.tolist() == [1, 2, 3, 4, 4]


def test_bad_events_and_an_unknown_generator_are_refused(small: NNLOPS, tmp_path) -> None:
    with pytest.raises(InputError, match="is negative: are these events of gluon fusion"):
        small.weight(np.array([-1.0]), np.array([0]))
    with pytest.raises(InputError, match=r"no NNLOPS weights for 'pohweg'\. Did you mean 'powheg'"):
        NNLOPS.load(tmp_path / "none.root", generator="pohweg")


def test_the_real_graphs() -> None:
    path = cms_file("NNLOPS_reweight.root")
    for generator, first in (("powheg", 1.165888), ("mcatnlo", 1.100469)):
        weights = NNLOPS.load(path, generator=generator)
        assert weights.weight(np.array([0.0]), np.array([0])).nominal[0] == pytest.approx(first, abs=1e-5)
        last = weights.weight(np.array([125.0, 625.0, 800.0, 925.0]), np.arange(4)).nominal
        np.testing.assert_array_equal(weights.weight(np.full(4, 5000.0), np.arange(4)).nominal, last)
