"""Generator weights and their variations, and the template cross-sections."""

import awkward as ak
import numpy as np
import pytest


@pytest.mark.parametrize(("kind", "scales", "members"), [("dy", 9, 33), ("ewkzjj", 44, 101), ("diboson", 8, 33)])
def test_the_numbers_of_variations(tools, kind, scales, members):
    events = tools.drawn(kind, 2018)
    assert set(ak.num(events.LHEScaleWeight)) == {scales}
    assert set(ak.num(events.LHEPdfWeight)) == {members}
    assert ak.all(events.LHEPdfWeight[:, 0] == 1)
    assert 0.001 < ak.std(events.LHEPdfWeight[:, 5]) + abs(ak.mean(events.LHEPdfWeight[:, 5]) - 1) < 0.05


@pytest.mark.parametrize(
    ("kind", "pairs"), [("dy", ((1, 7), (3, 5))), ("diboson", ((1, 6), (3, 4))), ("ewkzjj", ((5, 34), (15, 24)))]
)
def test_pairs_of_scale_variations_are_on_both_sides(tools, kind, pairs):
    """A small scale raises the weight: these are the pairs (down, up) of an analysis."""
    weights = tools.drawn(kind, 2018).LHEScaleWeight
    for small, large in pairs:
        assert ak.all(weights[:, small] > 1)
        assert ak.all(weights[:, large] < 1)
        assert np.allclose(weights[:, small] - 1, 1 - weights[:, large], atol=1e-3)
    if kind == "dy":
        assert ak.all(weights[:, 4] == 1)


def test_stages_of_vector_boson_fusion(tools):
    events = tools.drawn("vbf-hmumu", 2018)
    stage = np.asarray(events["HTXS_stage1_1_fine_cat_pTjet30GeV"])
    assert stage.min() >= 200
    assert stage.max() <= 224
    assert len(set(stage)) > 20
    jets, pt = np.asarray(events.HTXS_njets30), np.asarray(events.HTXS_Higgs_pt)
    assert set(stage[jets == 0]) <= {200, 201}
    assert set(stage[jets == 1]) <= {200, 202}
    assert (stage[(jets >= 2) & (pt < 200)] < 217).all()
    assert (pt[stage >= 217] > 200).all()
    boson = events.GenPart_pt[events.GenPart_pdgId == 25][:, 0]
    assert np.allclose(boson, pt, rtol=1e-3)
