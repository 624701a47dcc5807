"""Scale factors for simulated samples."""

import numpy as np
import pytest

from af_kit import simulate
from af_kit.corrections import load


def test_scale_factors_that_go_with_it(tmp_path):
    path = simulate.muon_scale_factors(tmp_path / "muon_Run2017.json")
    factors = load(path)["NUM_MediumID_DEN_TrackerMuons"]
    assert factors.bounds == {"abseta": (0, 2.4), "pt": (3, np.inf)}
    found = factors.variations(vary="scale_factors", abseta=np.array([0.1, 2.3]), pt=np.array([3.0, 50.0]))
    assert np.all(found["systdown"] < found["nominal"])
    assert found["systup"] - found["nominal"] == pytest.approx(np.hypot(found["stat"], found["syst"]), abs=2e-6)
