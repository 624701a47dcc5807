"""Corrections: shapes, variations and edges, for a small file and for the real file of CMS."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from af_kit import corrections
from af_kit.errors import InputError

REAL = Path(__file__).parents[3] / "shared" / "cms" / "Efficiency_muon_trackerMuon_Run2017_UL_ID_schemaV2.json"


def _binning(name: str, edges: list, content: list, flow: str = "error") -> dict:
    return {"nodetype": "binning", "input": name, "edges": edges, "content": content, "flow": flow}


def _category(values: dict[str, float]) -> dict:
    content = [{"key": key, "value": value} for key, value in values.items()]
    return {"nodetype": "category", "input": "systematic", "content": content}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    low = _category({"nominal": 0.9, "systup": 1.0, "systdown": 0.8})
    high = _category({"nominal": 0.95, "systup": 0.97, "systdown": 0.93})
    inputs = [
        {"name": "abseta", "type": "real"},
        {"name": "pt", "type": "real"},
        {"name": "systematic", "type": "string"},
    ]
    pt = _binning("pt", [3.0, 10.0, 50.0], [low, high])
    correction = {
        "name": "muon_id",
        "version": 1,
        "inputs": inputs,
        "output": {"name": "weight", "type": "real"},
        "data": _binning("abseta", [0.0, 2.4], [pt]),
    }
    file = tmp_path / "sf.json.gz"
    file.write_bytes(gzip.compress(json.dumps({"schema_version": 2, "corrections": [correction]}).encode()))
    return file


def test_jagged_inputs_give_jagged_values_of_the_same_counts(path: Path) -> None:
    pt = ak.Array([[5.0, 20.0], [], [49.0]])
    found = corrections.load(path)["muon_id"].evaluate(abseta=abs(pt * 0), pt=pt, systematic="nominal")
    assert found.values.tolist() == [[0.9, 0.95], [], [0.95]]
    assert found.clamped == {}


def test_numbers_arrays_and_lists_per_event(path: Path) -> None:
    sf = corrections.load(path)["muon_id"]
    assert sf.evaluate(abseta=0.1, pt=5.0, systematic="nominal").values == 0.9
    assert sf.evaluate(abseta=0.1, pt=np.array([5.0, 20.0]), systematic="nominal").values.tolist() == [0.9, 0.95]
    per_event = sf.evaluate(abseta=ak.Array([0.1, 0.2]), pt=ak.Array([[5.0, 20.0], [5.0]]), systematic="nominal")
    assert per_event.values.tolist() == [[0.9, 0.95], [0.9]]
    nested = sf.evaluate(abseta=0.1, pt=ak.Array([[[5.0], []], [[20.0, 5.0]]]), systematic="nominal")
    assert nested.values.tolist() == [[[0.9], []], [[0.95, 0.9]]]


def test_a_chunk_without_any_muon_gives_empty_values(path: Path) -> None:
    pt = ak.Array([[5.0]])[[False]]
    assert corrections.load(path)["muon_id"].evaluate(abseta=pt, pt=pt, systematic="nominal").values.tolist() == []


def test_variations_by_name_in_the_order_of_the_file(path: Path) -> None:
    varied = corrections.load(path)["muon_id"].variations(vary="systematic", abseta=0.1, pt=np.array([5.0]))
    assert list(varied.values) == ["nominal", "systup", "systdown"]
    assert varied["systup"].tolist() == [1.0]
    with pytest.raises(InputError, match="Did you mean 'systup'"):
        varied["sytup"]


def test_values_outside_the_range_raise_by_default(path: Path) -> None:
    pt = ak.Array([[2.5, 5.0], [60.0]])
    with pytest.raises(InputError, match=r"3.0 <= pt < 50.0; 2 of 3 .*first: 2.5.*clamp"):
        corrections.load(path)["muon_id"].evaluate(abseta=abs(pt * 0), pt=pt, systematic="nominal")


@pytest.mark.parametrize(("pt", "expected", "moved"), [(2.5, 0.9, 1), (3.0, 0.9, 0), (50.0, 0.95, 1), (1e9, 0.95, 1)])
def test_clamping_takes_the_value_at_the_edge_and_counts(path: Path, pt: float, expected: float, moved: int) -> None:
    found = corrections.load(path)["muon_id"].evaluate(
        abseta=0.1, pt=np.array([pt]), systematic="nominal", edges="clamp"
    )
    assert found.values.tolist() == [expected]
    assert found.clamped == ({"pt": 1} if moved else {})


def test_clamping_is_counted_once_for_all_variations(path: Path) -> None:
    varied = corrections.load(path)["muon_id"].variations(
        vary="systematic", abseta=0.1, pt=np.array([1.0, 5.0]), edges="clamp"
    )
    assert varied.clamped == {"pt": 1}


def test_nan_is_refused_also_when_clamping(path: Path) -> None:
    with pytest.raises(InputError, match="1 values of pt are NaN"):
        corrections.load(path)["muon_id"].evaluate(
            abseta=0.1, pt=np.array([math.nan]), systematic="nominal", edges="clamp"
        )


def test_wrong_names_and_shapes_are_refused(path: Path) -> None:
    found = corrections.load(path)
    with pytest.raises(InputError, match="Did you mean 'muon_id'"):
        found["muon_ID"]
    sf = found["muon_id"]
    with pytest.raises(InputError, match=r"no input 'eta'.* Did you mean 'abseta'"):
        sf.evaluate(eta=0.1, pt=5.0, systematic="nominal")
    with pytest.raises(InputError, match="also needs abseta"):
        sf.evaluate(pt=5.0, systematic="nominal")
    with pytest.raises(InputError, match="are incompatible"):
        sf.evaluate(abseta=np.array([0.1, 0.2, 0.3]), pt=np.array([5.0, 6.0]), systematic="nominal")
    with pytest.raises(InputError, match="has no systematic 'stat'"):
        sf.variations(vary="systematic", names=["stat"], abseta=0.1, pt=5.0)
    with pytest.raises(InputError, match="edges='wrap' is not valid"):
        sf.evaluate(abseta=0.1, pt=5.0, systematic="nominal", edges="wrap")


def test_the_same_file_is_opened_once_and_a_changed_one_again(path: Path) -> None:
    first = corrections.load(path)
    assert corrections.load(str(path)) is first
    content = json.loads(gzip.decompress(path.read_bytes()))
    content["corrections"][0]["name"] = "renamed"
    path.write_bytes(gzip.compress(json.dumps(content).encode()))
    assert list(corrections.load(path)) == ["renamed"]


def test_a_missing_file_and_another_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json cannot be read"):
        corrections.load(tmp_path / "none.json")
    other = tmp_path / "other.json"
    other.write_text('{"a": 1}')
    with pytest.raises(InputError, match="not a correctionlib file"):
        corrections.load(other)


@pytest.mark.skipif(not REAL.exists(), reason="the real CMS correction file is not beside the checkout")
def test_the_real_muon_file_of_2017() -> None:
    import correctionlib

    found = corrections.load(REAL)
    medium = found["NUM_MediumID_DEN_TrackerMuons"]
    assert medium.bounds == {"abseta": (0.0, 2.4), "pt": (3.0, math.inf)}
    pt = ak.Array([[2.1, 3.0, 25.0], [], [1e4]])
    abseta = ak.Array([[0.1, 1.0, 2.39], [], [1.5]])
    varied = medium.variations(vary="scale_factors", abseta=abseta, pt=pt, edges="clamp")
    assert varied.clamped == {"pt": 1}
    direct = correctionlib.CorrectionSet.from_file(str(REAL))["NUM_MediumID_DEN_TrackerMuons"]
    for name, values in varied.values.items():
        places = zip(ak.flatten(abseta).tolist(), ak.flatten(pt).tolist(), strict=True)
        expected = [direct.evaluate(eta, max(momentum, 3.0), name) for eta, momentum in places]
        assert ak.flatten(values).tolist() == expected
        assert ak.num(values).tolist() == [3, 0, 1]
