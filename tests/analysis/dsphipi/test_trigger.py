"""Names of triggers, however their characters lie in memory."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from bits import whole

from af_kit import simulate
from af_kit.analysis.dsphipi.trigger import fired
from af_kit.data.reading.read import read

NAMES, DECISIONS = "Trigger_l1name", "Trigger_l1decision"
PATTERNS = ["DoubleMu4_SQ", "TripleMu_5SQ"]


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    path = simulate.dsphipi(tmp_path_factory.mktemp("dsphipi") / "x.root", 400, 1)
    return read(whole(path, "Tree3Mu/ntuple"))[[NAMES, DECISIONS]]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda events: events, id="as read"),
        pytest.param(lambda events: events[::-1], id="in another order"),
        pytest.param(lambda events: events[::3], id="some"),
        pytest.param(lambda events: events[[5, 5, 1, 7, 7, *range(20, 9, -1)]], id="some twice"),
        pytest.param(ak.to_packed, id="packed"),
        pytest.param(lambda events: events[:0], id="none"),
    ],
)
@pytest.mark.parametrize("patterns", [PATTERNS, ["no such name"]])
def test_a_trigger_is_found(events, changed, patterns):
    some = changed(events)
    expected = [
        any(decision == 1 and any(pattern in name for pattern in patterns) for name, decision in zip(*one, strict=True))
        for one in zip(some[NAMES].to_list(), some[DECISIONS].to_list(), strict=True)
    ]
    assert fired(some, "l1", patterns).tolist() == expected
    if patterns == PATTERNS and len(some):
        assert 0 < np.sum(expected) < len(some)
