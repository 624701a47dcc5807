from __future__ import annotations

import numpy as np

from af_kit.analysis import dsphipi


def test_the_upper_edge_is_overflow():
    histogram = dsphipi.fill(np.array([1.65, 2.01, 1.6499]), {"nominal": np.ones(3)}, "x")
    assert len(histogram.axes["mass"]) == 62
    assert histogram.values(flow=True)[0, 0][[0, 1, -1]].tolist() == [1, 1, 1]
