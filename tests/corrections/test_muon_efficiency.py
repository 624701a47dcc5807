"""Scale factors of muons: axes of each year, edges, two periods, the trigger's efficiency of an event."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from cms_files import cms_file

from af_kit.corrections.muon_efficiency import ScaleFactor, Trigger
from af_kit.errors import InputError

NAME = "NUM_MediumID_DEN_genTracks"
PT_EDGES = [20.0, 50.0, 120.0]


@pytest.fixture
def later(write_root, table) -> Path:
    """A file with the axes of 2017 and 2018."""
    values, errors = [[0.9, 0.91], [0.92, 0.93]], [[0.01, 0.02], [0.03, 0.04]]
    return write_root("later.root", {NAME + "_pt_abseta": table(PT_EDGES, [0, 1.2, 2.4], values=values, errors=errors)})


@pytest.fixture
def earlier(write_root, table) -> Path:
    """A file with the axes of 2016."""
    values = [[0.8, 0.81], [0.82, 0.83]]
    return write_root("earlier.root", {NAME + "_eta_pt": table([-2.4, 0, 2.4], PT_EDGES, values=values, errors=0.1)})


def test_pt_and_abs_eta(later: Path) -> None:
    found = ScaleFactor.load(later, NAME, source="muon_id").per_muon(
        np.array([30.0, 30.0, 60.0, 60.0]), np.array([1.0, -1.5, 0.1, -2.3])
    )
    assert found.nominal.tolist() == [0.9, 0.91, 0.92, 0.93]
    assert found.variations["muon_id"].up == pytest.approx([0.91, 0.93, 0.95, 0.97])
    assert found.variations["muon_id"].down == pytest.approx([0.89, 0.89, 0.89, 0.89])


def test_signed_eta_and_pt_of_2016(earlier: Path) -> None:
    found = ScaleFactor.load(earlier, NAME, source="muon_id").per_muon(np.full(2, 60.0), np.array([-1.0, 1.0]))
    assert found.nominal.tolist() == [0.81, 0.83]


def test_muons_outside_have_the_factor_of_the_edge(later: Path) -> None:
    found = ScaleFactor.load(later, NAME, source="muon_id").per_muon(np.array([5.0, 500.0, 120.0]), np.full(3, 2.45))
    assert found.nominal.tolist() == [0.91, 0.93, 0.93]


def test_two_periods_are_averaged_by_luminosity(earlier: Path, later: Path) -> None:
    both = ScaleFactor.load({earlier: 20.1, later: 16.3}, NAME, source="muon_id").per_muon(30.0, 1.0)
    assert both.nominal == pytest.approx((20.1 * 0.82 + 16.3 * 0.9) / 36.4)
    assert both.variations["muon_id"].up == pytest.approx((20.1 * 0.92 + 16.3 * 0.91) / 36.4)


def test_an_event_is_the_product_of_its_muons(later: Path) -> None:
    factor = ScaleFactor.load(later, NAME, source="muon_id")
    pairs = factor.per_event((np.array([30.0, 60.0]), np.array([60.0, 30.0])), (np.zeros(2), np.array([2.0, 0.0])))
    assert pairs.nominal == pytest.approx([0.9 * 0.93, 0.92 * 0.9])
    assert pairs.variations["muon_id"].up == pytest.approx([0.91 * 0.97, 0.95 * 0.91])
    jagged = factor.per_event(ak.Array([[30.0, 60.0], [], [60.0]]), ak.Array([[0.0, 2.0], [], [0.0]]))
    assert jagged.nominal.tolist() == pytest.approx([0.9 * 0.93, 1.0, 0.92])


def test_an_unknown_name_lists_what_there_is(later: Path) -> None:
    with pytest.raises(
        InputError, match=r"no histogram NUM_MediumIDs.*Did you mean 'NUM_MediumID_DEN_genTracks_pt_abs"
    ):
        ScaleFactor.load(later, "NUM_MediumIDs_DEN_genTracks", source="muon_id")


@pytest.mark.parametrize("lumi", [0.0, -1.0, np.nan])
def test_luminosities_are_positive(later: Path, lumi: float) -> None:
    with pytest.raises(InputError, match="luminosities of the periods must be positive"):
        ScaleFactor.load({later: lumi}, NAME, source="muon_id")


def correctionlib_file(path: Path, names: tuple[str, ...]) -> Path:
    content = [{"key": key, "value": value} for key, value in zip(names, (0.9, 0.95, 0.85), strict=True)]
    correction = {
        "name": "id",
        "version": 1,
        "inputs": [{"name": name, "type": "real"} for name in ("abseta", "pt")] + [{"name": "sf", "type": "string"}],
        "output": {"name": "weight", "type": "real"},
        "data": {
            "nodetype": "binning", "input": "pt", "edges": [20.0, 120.0], "flow": "error",
            "content": [{"nodetype": "category", "input": "sf", "content": content}],
        },
    }  # fmt: skip
    path.write_bytes(gzip.compress(json.dumps({"schema_version": 2, "corrections": [correction]}).encode()))
    return path


def test_a_correctionlib_file(tmp_path: Path) -> None:
    path = correctionlib_file(tmp_path / "id.json.gz", ("nominal", "systup", "systdown"))
    factor = pickle.loads(pickle.dumps(ScaleFactor.load(path, "id", source="muon_id")))
    found = factor.per_muon(np.array([10.0, 30.0]), np.array([-1.0, 1.0]))
    assert found.nominal.tolist() == [0.9, 0.9]
    assert found.variations["muon_id"].up.tolist() == [0.95, 0.95]
    assert found.variations["muon_id"].down.tolist() == [0.85, 0.85]


def test_a_correctionlib_file_without_the_variations_is_refused(tmp_path: Path) -> None:
    path = correctionlib_file(tmp_path / "id.json.gz", ("nominal", "up", "down"))
    with pytest.raises(InputError, match="choices nominal, systup and systdown"):
        ScaleFactor.load(path, "id", source="muon_id")


TRIGGER = "IsoMu24"


@pytest.fixture
def write_trigger(write_root, table):
    def write(name: str, data: float, simulation: float, first: float = 26.0, error: float = 0.01) -> Path:
        objects = {}
        for sample, plateau in (("DATA", data), ("MC", simulation)):
            values = [[plateau - 0.1, plateau]]
            made = table([0, 2.4], [first, 50, 200], values=values, errors=error)
            objects[f"{TRIGGER}_PtEtaBins/efficiencies{sample}/abseta_pt_{sample}"] = made
        return write_root(name, objects)

    return write


def test_an_event_fires_if_one_muon_does(write_trigger) -> None:
    trigger = Trigger.load(write_trigger("a.root", 0.9, 0.95), TRIGGER)
    found = trigger.per_event((np.array([60.0]), np.array([30.0])), (np.array([0.1]), np.array([-0.1])))
    data, simulation = 1 - 0.1 * 0.2, 1 - 0.05 * 0.15
    assert found.nominal[0] == pytest.approx(data / simulation)
    # errors of both muons together, data and simulation independent
    of_data = (1 - 0.09 * 0.19) / simulation - data / simulation
    of_simulation = data / (1 - 0.06 * 0.16) - data / simulation
    up, down = found.variations["muon_trigger"]
    assert up[0] == pytest.approx(data / simulation + np.hypot(of_data, of_simulation))
    assert down[0] < found.nominal[0] < up[0]


def test_a_muon_below_the_first_edge_does_not_fire(write_trigger) -> None:
    trigger = Trigger.load(write_trigger("a.root", 0.9, 0.95), TRIGGER)
    found = trigger.per_event((np.array([60.0, 25.9]), np.array([25.99, 60.0])), (np.zeros(2), np.zeros(2)))
    assert found.nominal == pytest.approx([0.9 / 0.95, 0.9 / 0.95])


def test_the_efficiencies_of_two_periods_are_averaged(write_trigger) -> None:
    files = {write_trigger("a.root", 0.8, 0.95): 8.95, write_trigger("b.root", 0.9, 0.97): 50.79}
    found = Trigger.load(files, TRIGGER).per_event((np.array([60.0]), np.array([20.0])), (np.zeros(1), np.zeros(1)))
    share = 8.95 / 59.74
    assert found.nominal[0] == pytest.approx((share * 0.8 + (1 - share) * 0.9) / (share * 0.95 + (1 - share) * 0.97))


def test_an_event_that_cannot_fire_is_refused(write_trigger) -> None:
    trigger = Trigger.load(write_trigger("a.root", 0.9, 0.95), TRIGGER)
    with pytest.raises(InputError, match=r"in 1 events no muon has a pt of 26\.0 GeV or more"):
        trigger.per_event((np.array([20.0, 60.0]), np.array([21.0, 60.0])), (np.zeros(2), np.zeros(2)))


def test_tables_that_are_no_efficiencies_are_refused(write_trigger) -> None:
    with pytest.raises(InputError, match="not a table of efficiencies"):
        Trigger.load(write_trigger("a.root", 1.2, 0.95), TRIGGER)
    with pytest.raises(InputError, match="larger than their errors"):
        Trigger.load(write_trigger("b.root", 0.9, 0.95, error=0.9), TRIGGER)
    with pytest.raises(InputError, match="start at different pt"):
        Trigger.load({write_trigger("c.root", 0.9, 0.9): 1, write_trigger("d.root", 0.9, 0.9, first=29.0): 1}, TRIGGER)


def test_the_real_files_of_2016() -> None:
    files = {cms_file(f"run2/muon/year2016_Run{run}_SF_ID.root"): lumi for run, lumi in (("BCDEF", 20.1), ("GH", 16.3))}
    found = ScaleFactor.load(files, NAME, source="muon_id").per_muon(np.array([45.0]), np.array([-2.05]))
    of_period = [uproot.open(path)[NAME + "_eta_pt"] for path in files]
    values = [table.values()[3, 3] for table in of_period]  # eta -2.1..-2.0, pt 40..50
    assert found.nominal[0] == pytest.approx((20.1 * values[0] + 16.3 * values[1]) / 36.4, rel=1e-12)
    errors = [table.errors()[3, 3] for table in of_period]
    up, down = found.variations["muon_id"]
    assert up[0] - down[0] == pytest.approx(2 * (20.1 * errors[0] + 16.3 * errors[1]) / 36.4, rel=1e-9)


def test_the_real_trigger_of_2018_at_45_and_22_gev() -> None:
    path = cms_file("run2/muon/year2018_Trigger_AfterMuonHLTUpdate.root")
    found = Trigger.load(path, TRIGGER).per_event((np.array([45.0]), np.array([22.0])), (np.zeros(1), np.zeros(1)))
    assert found.nominal[0] == pytest.approx(0.981, abs=5e-4)  # 0.997 if the second muon were in the first bin


def test_the_real_trigger_efficiencies_of_2018_are_averaged() -> None:
    files = {
        cms_file("run2/muon/year2018_Trigger_BeforeMuonHLTUpdate.root"): 8.95,
        cms_file("run2/muon/year2018_Trigger_AfterMuonHLTUpdate.root"): 50.79,
    }
    found = Trigger.load(files, TRIGGER).per_event((np.array([45.0]), np.array([22.0])), (np.zeros(1), np.zeros(1)))
    efficiency = {}
    for sample in ("DATA", "MC"):
        name = f"IsoMu24_PtEtaBins/efficiencies{sample}/abseta_pt_{sample}"
        before, after = (uproot.open(path)[name].values()[0, 2] for path in files)
        efficiency[sample] = (8.95 * before + 50.79 * after) / 59.74
    assert found.nominal[0] == pytest.approx(efficiency["DATA"] / efficiency["MC"], rel=1e-6)
