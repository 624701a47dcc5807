"""The selection of jets: each cut by itself, ties, muons that are also jets, and the pile-up identification by year."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from af_kit.analysis.hmumu import jets as jet_selection
from af_kit.analysis.hmumu.campaign import load_campaign

GOOD = {"pt": 40.0, "eta": 1.0, "jetId": 6, "puId": 7, "qgl": 0.5, "btagDeepB": 0.01, "muonIdx1": -1, "muonIdx2": -1}


class Jets(dict[str, Any]):
    """Columns of jets, with the number of jets of each event."""

    def __init__(self, events: list[list[dict[str, Any]]]) -> None:
        flat = [{**GOOD, **jet} for event in events for jet in event]
        super().__init__({name: np.array([jet[name] for jet in flat]) for name in GOOD})
        self.offsets = np.cumsum([0, *map(len, events)])

    def __len__(self) -> int:
        return int(self.offsets[-1])


def select(events: list[list[dict[str, Any]]], year: str = "2018", muons: tuple[int, int] = (0, 1)) -> Any:
    campaign, jets = load_campaign(year), Jets(events)
    known = jet_selection.candidates(jets, campaign)  # type: ignore[arg-type]
    both = tuple(np.full(len(events), muon) for muon in muons)
    return jet_selection.select(jets, jets["pt"], known, campaign, both)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "selected"),
    [
        ({}, True),
        ({"pt": 25.0}, False),
        ({"pt": 25.1}, True),
        ({"eta": 4.7}, False),
        ({"eta": -4.69}, True),
        ({"jetId": 1}, False),
        ({"jetId": 2}, True),
        ({"qgl": -2.0}, False),
        ({"qgl": -1.0}, True),
        ({"muonIdx1": 0}, False),
        ({"muonIdx2": 1}, False),
        ({"muonIdx1": 2}, True),
    ],
)
def test_each_cut(changes: dict[str, Any], selected: bool) -> None:
    assert select([[changes]]).n.tolist() == [int(selected)]


def test_the_looser_jet_id_of_2016() -> None:
    assert select([[{"jetId": 1}], [{"jetId": 0}]], "2016").n.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("pu_id", "pt", "eta", "year", "passes"),
    [
        (4, 30, 1.0, "2018", True),
        (3, 30, 1.0, "2018", False),
        (0, 50, 1.0, "2018", False),
        (0, 50.1, 1.0, "2018", True),
        (4, 30, 2.8, "2018", True),
        (4, 30, 2.8, "2017", False),
        (6, 30, -2.8, "2017", False),
        (7, 30, -2.8, "2017", True),
        (6, 80, 2.8, "2017", False),  # no exemption at high pt in this region
        (7, 80, 2.8, "2017", True),
        (0, 80, 2.6, "2017", True),
        (0, 80, -3.0, "2017", True),
        (4, 30, 2.6, "2017", True),
    ],
)
def test_the_pileup_identification(pu_id: int, pt: float, eta: float, year: str, passes: bool) -> None:
    found = select([[{"puId": pu_id, "pt": pt, "eta": eta}]], year)
    assert found.mask.tolist() == [passes]
    assert found.cleaned.tolist() == [True]


def test_the_leading_jets_are_by_pt_and_ties_keep_the_order_of_the_file() -> None:
    found = select([[{"pt": 30}, {"pt": 60}, {"pt": 40}], [], [{"pt": 50}, {"pt": 50}, {"pt": 50}], [{"pt": 30}]])
    assert found.n.tolist() == [3, 0, 3, 1]
    assert found.first.tolist() == [1, -1, 3, 6]
    assert found.second.tolist() == [2, -1, 4, -1]


def test_b_tags_count_in_selected_central_jets_only() -> None:
    medium, loose = {"btagDeepB": 0.5}, {"btagDeepB": 0.2}
    found = select([[medium, loose, {}], [{**medium, "eta": 2.5}, {**medium, "pt": 20}], [{"btagDeepB": 0.4184}]])
    assert found.n_loose.tolist() == [2, 0, 1]
    assert found.n_medium.tolist() == [1, 0, 0]
