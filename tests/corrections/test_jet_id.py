"""The jet id, the pile-up jet id, and the weights of the latter."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from cms_files import cms_file

from af_kit.corrections.jet_id import PileupIdWeights, tight_jet_id_2022
from af_kit.errors import InputError

PT_EDGES = np.array([15.0, 30.0, 50.0])
ETA_EDGES = np.array([-5.0, 0.0, 5.0])


FRACTIONS = {"neHEF": 0.3, "neEmEF": 0.3, "chHEF": 0.4, "chEmEF": 0.1, "muEF": 0.1}
JET = {"eta": 1.0, **FRACTIONS, "chMultiplicity": 10, "neMultiplicity": 5}
# what differs from a jet that passes everywhere, and whether it still passes
CASES: list[tuple[dict[str, float], bool]] = [
    ({}, True),
    ({"eta": 2.65}, True),
    ({"eta": 2.8}, True),
    ({"eta": -4.0}, True),
    ({"neHEF": 0.99}, False),
    ({"neEmEF": 0.9}, False),
    ({"chMultiplicity": 1, "neMultiplicity": 0}, False),
    ({"chHEF": 0.01}, False),
    ({"chMultiplicity": 0}, False),
    ({"muEF": 0.8}, False),
    ({"chEmEF": 0.8}, False),
    ({"eta": 2.6, "neHEF": 0.95}, True),
    ({"eta": 2.61, "neHEF": 0.9}, False),
    ({"eta": -2.65, "neEmEF": 0.98, "chHEF": 0.0, "chMultiplicity": 0}, True),
    ({"eta": 2.65, "neEmEF": 0.99}, False),
    ({"eta": 2.65, "muEF": 0.9}, False),
    ({"eta": 2.8, "neHEF": 0.98, "muEF": 0.9}, True),
    ({"eta": 2.8, "neHEF": 0.99}, False),
    ({"eta": 3.0, "neEmEF": 0.5}, True),
    ({"eta": 3.1, "neEmEF": 0.4}, False),
    ({"eta": 3.1, "neMultiplicity": 2, "neHEF": 0.99}, True),
    ({"eta": 3.1, "neMultiplicity": 1}, False),
]


def _jets(*changes: dict[str, float]) -> Any:
    return ak.Array([[{**JET, **change} for change in changes], []])


def test_the_jet_id_of_2022_is_computed_from_fractions() -> None:
    found = tight_jet_id_2022(_jets(*(changes for changes, _ in CASES)))
    for (changes, passes), answer in zip(CASES, found[0].tolist(), strict=True):
        assert answer == passes, changes
    assert found[1].tolist() == []


@pytest.mark.parametrize("stored", [0, 6])
def test_the_stored_id_is_not_read_because_it_is_wrong_in_nanoaod_v12_to_v14(stored: int) -> None:
    assert tight_jet_id_2022(_jets({"jetId": stored}, {"jetId": stored, "neHEF": 0.99})).tolist() == [[True, False], []]


def test_the_lepton_veto_can_be_left_out() -> None:
    assert tight_jet_id_2022(_jets({"muEF": 0.9}), lepton_veto=False).tolist() == [[True], []]


def test_numbers_of_particles_are_bytes_in_a_file() -> None:
    jets = _jets({"chMultiplicity": 128, "neMultiplicity": 128}, {"chMultiplicity": 255, "neMultiplicity": 1})
    for name in ("chMultiplicity", "neMultiplicity"):
        jets = ak.with_field(jets, ak.values_astype(jets[name], np.uint8), name)
    assert tight_jet_id_2022(jets).tolist() == [[True, True], []]


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    # of shape (pt, eta)
    values = {
        "eff_mc2017_L": [[0.8, 0.8], [0.9, 0.5]],
        "eff_sf2017_L": [[1.0, 1.0], [0.95, 1.1]],
        "eff_mc2017_T": [[0.4, 0.4], [0.6, 0.6]],
        "eff_sf2017_T": [[1.0, 1.0], [0.9, 0.8]],
        "mistag_mc2017_L": [[0.2, 0.2], [0.3, 0.3]],
        "mistag_sf2017_L": [[1.0, 1.0], [1.5, 1.2]],
        "mistag_mc2017_T": [[0.1, 0.1], [0.1, 0.0]],
        "mistag_sf2017_T": [[1.0, 1.0], [2.0, 0.0]],
    }
    path = tmp_path / "maps.root"
    with uproot.recreate(path) as file:
        for name, content in values.items():
            file[f"h2_{name}"] = (np.array(content), PT_EDGES, ETA_EDGES)
    return path


def test_weights_of_passing_and_failing_jets(maps: Path) -> None:
    weights = PileupIdWeights.load(maps, year="2017")
    pt = ak.Array([[45.0, 45.0], [45.0, 45.0], [], [24.0, 60.0, 50.0], [45.0]])
    eta = ak.Array([[-1.0, 1.0], [-1.0, 1.0], [], [1.0, 1.0, 1.0], [-2.8]])
    passes = ak.Array([[True, True], [False, False], [], [True, True, True], [True]])
    expected = [0.95 * 1.1, (1 - 0.95 * 0.9) / 0.1 * (1 - 1.1 * 0.5) / 0.5, 1.0, 1.0, 0.9]
    assert weights.weight(pt, eta, passes) == pytest.approx(expected)
    flat = [ak.to_numpy(ak.flatten(values)) for values in (pt, eta, passes)]
    assert weights.weight(*flat, counts=ak.num(pt)) == pytest.approx(expected)


def test_jets_from_pileup_use_the_maps_of_mistagging(maps: Path) -> None:
    weights = PileupIdWeights.load(maps, year="2017")
    pt, eta, real = (ak.Array([values] * 2) for values in ([45.0, 45.0], [-1.0, 1.0], [True, False]))
    passes = ak.Array([[True, True], [True, False]])
    expected = [0.95 * 1.2, 0.95 * (1 - 1.2 * 0.3) / 0.7]
    assert weights.weight(pt, eta, passes, has_generator_jet=real) == pytest.approx(expected)


def test_a_weight_is_never_negative_or_infinite(tmp_path: Path, maps: Path) -> None:
    weights = PileupIdWeights.load(maps, year="2017")
    high = {**weights.maps, "eff_mc_L": np.full((2, 2), 0.98), "eff_sf_L": np.full((2, 2), 1.05)}
    sure = {**high, "eff_mc_L": np.ones((2, 2))}
    for of, expected in ((high, 0.0), (sure, 1.0)):
        changed = PileupIdWeights("2017", of, weights.pt_edges, weights.eta_edges)
        assert changed.weight(ak.Array([[45.0]]), ak.Array([[1.0]]), ak.Array([[False]])).tolist() == [expected]


def test_maps_that_are_missing_are_named(maps: Path) -> None:
    with pytest.raises(InputError, match=r"has not all maps .* of 2018, such as h2_eff_mc2018_L"):
        PileupIdWeights.load(maps, year="2018")


def test_it_can_be_pickled(maps: Path) -> None:
    weights = pickle.loads(pickle.dumps(PileupIdWeights.load(maps, year="2017")))
    assert weights.weight(ak.Array([[45.0]]), ak.Array([[1.0]]), ak.Array([[True]])) == pytest.approx([1.1])


@pytest.mark.parametrize("year", ["2016", "2017", "2018"])
def test_the_real_maps(year: str) -> None:
    path = cms_file("PUIDMaps.root")
    weights = PileupIdWeights.load(path, year=year)
    with uproot.open(path) as file:
        factor = float(file[f"h2_eff_sf{year}_L"].values()[4, 3])  # pt 40..50, eta -2.5..-2
        efficiency = float(file[f"h2_eff_mc{year}_L"].values()[4, 3])
    pt, eta = np.array([45.0, 45.0]), np.array([-2.2, -2.2])
    found = weights.weight(pt, eta, np.array([True, False]), counts=[1, 1])
    assert found == pytest.approx([factor, (1 - factor * efficiency) / (1 - efficiency)])
    assert 0.8 < found[0] < 1.1
