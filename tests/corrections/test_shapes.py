"""Corrections keep the shape of their inputs, and their missing values."""

from __future__ import annotations

import json

import awkward as ak
import numpy as np
import pandas as pd
import pytest

from af_kit import corrections
from af_kit.errors import InputError


def _correction(data: object, **types: str) -> corrections.Correction:
    inputs = [{"name": name, "type": kind} for name, kind in types.items()]
    item = {"name": "sf", "version": 1, "inputs": inputs, "output": {"name": "w", "type": "real"}, "data": data}
    return corrections.loads(json.dumps({"schema_version": 2, "corrections": [item]}).encode())["sf"]


def _bins(name: str, edges: list, content: list, flow: object = "error") -> dict:
    return {
        "nodetype": "binning",
        "input": name,
        "edges": [float(edge) for edge in edges],
        "content": content,
        "flow": flow,
    }


def _category(name: str, values: dict, **default: object) -> dict:
    content = [{"key": key, "value": value} for key, value in values.items()]
    return {"nodetype": "category", "input": name, "content": content, **default}


@pytest.fixture(scope="module")
def sf() -> corrections.Correction:
    return _correction(_bins("pt", [0, 10, 100], [1.0, 2.0]), pt="real")


@pytest.fixture(scope="module")
def sum_of_two() -> corrections.Correction:
    formula = {"nodetype": "formula", "expression": "x+y", "parser": "TFormula", "variables": ["pt", "eta"]}
    return _correction(_bins("pt", [0, 100], [formula]), pt="real", eta="real")


@pytest.mark.parametrize(
    ("pt", "expected"),
    [
        ([5, None, 25], [1.0, None, 2.0]),
        ([[5, None], None, [], [25]], [[1.0, None], None, [], [2.0]]),
        ([[[5], None], None, [[None, 25], []]], [[[1.0], None], None, [[None, 2.0], []]]),
        ([None, None], [None, None]),
        ([], []),
    ],
)
def test_missing_values_of_awkward_arrays(sf, pt, expected):
    array = ak.Array(pt)
    assert sf.evaluate(pt=array).values.tolist() == expected
    assert sf.evaluate(pt=ak.to_packed(array)[::-1]).values.tolist() == expected[::-1]


def test_masked_and_indexed_layouts(sf):
    pt = ak.mask(ak.Array([5.0, 500.0, 25.0]), [True, False, True])
    found = sf.evaluate(pt=pt, edges="clamp")
    assert found.values.tolist() == [1.0, None, 2.0]
    assert found.clamped == {}
    regular = ak.Array(np.array([[5.0, 25.0], [25.0, 5.0]]))
    assert str(sf.evaluate(pt=regular).values.type) == "2 * 2 * float64"
    assert sf.evaluate(pt=ak.mask(regular, [True, False])).values.tolist() == [[1.0, 2.0], None]


def test_only_existing_values_are_clamped_and_counted(sf):
    found = sf.evaluate(pt=ak.Array([[-1.0, None], [500.0, 5.0]]), edges="clamp")
    assert found.values.tolist() == [[1.0, None], [2.0, 1.0]]
    assert found.clamped == {"pt": 2}


def test_numpy_keeps_its_shape_and_its_mask(sf):
    assert sf.evaluate(pt=np.array([[5.0, 20.0], [25.0, 3.0]])).values.tolist() == [[1.0, 2.0], [2.0, 1.0]]
    point = sf.evaluate(pt=np.array(5.0)).values
    assert (point.shape, float(point)) == ((), 1.0)
    assert sf.evaluate(pt=np.zeros((0, 3))).values.shape == (0, 3)
    found = sf.evaluate(pt=np.ma.array([[5.0, 20.0], [-7.0, 3.0]], mask=[[0, 1], [1, 0]]), edges="clamp")
    assert found.values.tolist() == [[1.0, None], [None, 1.0]]
    assert found.clamped == {}
    assert sf.evaluate(pt=np.array([5, None], dtype=object)).values.tolist() == [1.0, None]
    assert sf.evaluate(pt=[[5], [25, 3]]).values.tolist() == [[1.0], [2.0, 1.0]]
    assert isinstance(sf.evaluate(pt=np.float32(5)).values, float)


def test_pandas_keeps_its_index(sf):
    found = sf.evaluate(pt=pd.Series([5.0, 20.0], index=[7, 9])).values
    assert found.to_dict() == {7: 1.0, 9: 2.0}
    missing = sf.evaluate(pt=pd.Series([5, None, 25], dtype="Int64", index=list("abc"))).values
    assert missing.dropna().to_dict() == {"a": 1.0, "c": 2.0}
    assert missing.isna().tolist() == [False, True, False]
    assert sf.evaluate(pt=pd.Series([5, None], dtype=object)).values.isna().tolist() == [False, True]


def test_mixed_inputs(sum_of_two):
    def values(pt, eta):
        return sum_of_two.evaluate(pt=pt, eta=eta).values

    assert values(np.array([[1.0], [2.0]]), np.array([10.0, 20.0])).tolist() == [[11.0, 21.0], [12.0, 22.0]]
    assert values(ak.Array([[1, None], None, [3]]), ak.Array([10, 20, None])).tolist() == [[11.0, None], None, None]
    assert values(ak.Array([[1, 2], [3]]), np.ma.array([10, 20], mask=[0, 1])).tolist() == [[11.0, 12.0], None]
    assert values(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), ak.Array([10, None, 20])).tolist() == [
        [11.0, 12.0],
        None,
        [25.0, 26.0],
    ]
    assert values(pd.Series([1.0, 2.0], index=[4, 5]), np.array([10.0, 20.0])).to_dict() == {4: 11.0, 5: 22.0}
    assert values(pd.Series([1.0, 2.0]), ak.Array([[10], [20, 30]])).tolist() == [[11.0], [22.0, 32.0]]
    with pytest.raises(InputError, match="index of eta differs from that of pt"):
        values(pd.Series([1.0, 2.0]), pd.Series([1.0, 2.0], index=[1, 0]))
    with pytest.raises(InputError, match="are incompatible"):
        values(pd.Series([1.0, 2.0]), np.zeros((3, 2)))


@pytest.mark.parametrize("pt", [None, pd.NA, {"pt": 5}, pd.DataFrame({"pt": [5.0]})])
def test_what_is_not_an_array_is_refused(sf, pt):
    with pytest.raises(InputError, match=r"pt is (missing|a )"):
        sf.evaluate(pt=pt)


def test_nan_is_refused_where_correctionlib_would_use_the_last_bin():
    clamping = _correction(_bins("pt", [0, 10, 100], [1.0, 2.0], flow="clamp"), pt="real")
    with pytest.raises(InputError, match="1 values of pt are NaN"):
        clamping.evaluate(pt=ak.Array([[5.0], [np.nan]]))


def test_integers_are_not_rounded_or_wrapped():
    by_number = _correction(_category("n", {1: 10.0, 2: 20.0}, default=0.0), n="int")
    assert by_number.evaluate(n=np.array([1.0, 2.0, 3.0])).values.tolist() == [10.0, 20.0, 0.0]
    for wrong in (np.array([1.7]), np.array([2**32 + 1])):
        with pytest.raises(InputError, match="1 values of n are not integers of 32 bits"):
            by_number.evaluate(n=wrong)


class TestRangesThatDiffer:
    """The range of pt depends on another input; values are moved to the edge that is theirs."""

    def test_by_the_category_in_the_call(self):
        low, high = _bins("pt", [10, 20, 30], [1.0, 2.0]), _bins("pt", [0, 50, 500], [3.0, 4.0], flow="clamp")
        sf = _correction(_category("id", {"loose": low, "tight": high}), id="string", pt="real")
        found = sf.evaluate(id="loose", pt=np.array([5.0, 15.0, 100.0]), edges="clamp")
        assert (found.values.tolist(), found.clamped) == ([1.0, 1.0, 2.0], {"pt": 2})
        found = sf.evaluate(id="tight", pt=np.array([5.0, 15.0, 100.0]))
        assert (found.values.tolist(), found.clamped) == ([3.0, 3.0, 4.0], {})
        with pytest.raises(InputError, match=r"10.0 <= pt < 30.0; 1 of 2"):
            sf.evaluate(id="loose", pt=np.array([5.0, 15.0]))

    def test_by_a_category_of_each_value_and_its_default(self):
        formula = {"nodetype": "formula", "expression": "x", "parser": "TFormula", "variables": ["pt"]}
        data = _category("q", {1: _bins("pt", [10, 20], [formula]), -1: _bins("pt", [30, 40], [formula])})
        sf = _correction({**data, "default": formula}, q="int", pt="real")
        found = sf.evaluate(q=np.array([1, -1, 0, 1]), pt=np.array([5.0, 5.0, 5.0, 15.0]), edges="clamp")
        assert found.values.tolist() == [10.0, 30.0, 5.0, 15.0]
        assert found.clamped == {"pt": 2}

    @pytest.mark.parametrize("flow", ["error", 7.0, "clamp", "wrap"])
    def test_by_the_bin_of_another_input(self, flow):
        formula = {"nodetype": "formula", "expression": "x", "parser": "TFormula", "variables": ["pt"]}
        inner = [_bins("pt", [10, 100], [formula]), _bins("pt", [20, 100], [formula])]
        sf = _correction(_bins("eta", [0, 1, 2], inner, flow=flow), eta="real", pt="real")
        found = sf.evaluate(eta=np.array([0.5, 1.0, 2.5]), pt=5.0, edges="clamp")
        last = {"error": 20.0, 7.0: 7.0, "clamp": 20.0, "wrap": 10.0}[flow]
        assert found.values.tolist() == [10.0, 20.0, last]
        assert found.clamped == {"pt": 2 if flow == 7.0 else 3} | ({"eta": 1} if flow == "error" else {})

    def test_of_two_axes(self):
        data = {"nodetype": "multibinning", "inputs": ["eta", "q"], "flow": "error"}
        inner = [_bins("pt", [low, 100], [float(low)]) for low in (10, 20, 30, 40)]
        sf = _correction(
            {**data, "edges": [{"n": 2, "low": 0.0, "high": 2.0}, [-2.0, 0.0, 2.0]], "content": inner},
            eta="real", q="real", pt="real",
        )  # fmt: skip
        found = sf.evaluate(
            eta=np.array([0.5, 0.5, 1.5, 1.5]), q=np.array([-1, 1, -1, 1]), pt=np.array([15, 15, 15, 15]), edges="clamp"
        )
        assert found.values.tolist() == [10.0, 20.0, 30.0, 40.0]
        assert found.clamped == {"pt": 3}

    def test_a_transformed_input_is_not_moved(self):
        half = {"nodetype": "formula", "expression": "x/2", "parser": "TFormula", "variables": ["pt"]}
        data = {"nodetype": "transform", "input": "pt", "rule": half, "content": _bins("pt", [0, 10], [3.0])}
        sf = _correction(data, pt="real")
        assert sf.evaluate(pt=np.array([15.0]), edges="clamp").values.tolist() == [3.0]
        with pytest.raises(InputError, match="cannot be evaluated"):
            sf.evaluate(pt=np.array([25.0]), edges="clamp")
