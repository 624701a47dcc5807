"""The merge algebra: any grouping of the chunks gives the same, and nothing that would change a value passes."""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict, defaultdict, namedtuple
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import vector
from dask.sizeof import sizeof
from hist import Hist
from hypothesis import given, settings
from hypothesis import strategies as st

from af_kit.errors import MergeError
from af_kit.run.accumulate import check_output, detach, merge
from af_kit.run.bookkeeping import Partial, Segment


class Yields(NamedTuple):
    passed: int
    mass: Any


class Cutflow:
    """An accumulator of the user's own."""

    def __init__(self, steps: tuple[int, ...]) -> None:
        self.steps = steps

    def __add__(self, other: Cutflow) -> Cutflow:
        return Cutflow(tuple(a + b for a, b in zip(self.steps, other.steps, strict=True)))


class LongCutflow(Cutflow):
    """A class that inherits its addition."""


def in_any_grouping(values: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Merge neighbours first in groups of these sizes, then the groups."""
    groups, at = [], 0
    for size in sizes:
        if at < len(values):
            groups.append(merge(values[at : at + size]))
        at += size
    return merge([*groups, *values[at:]])


outputs = st.builds(
    lambda count, numbers, words, rows: {
        "count": count,
        "numbers": np.asarray(numbers, np.int64),
        "jagged": ak.Array([numbers]),
        "words": set(words),
        "list": list(words),
        "nested": {word: Counter({word: count}) for word in words},
        "hist": Hist.new.StrCat([], growth=True, name="c")
        .Reg(4, 0, 4, name="x")
        .Int64()
        .fill(c=[*words, "x"], x=count % 5),
        "yields": Yields(count, np.asarray(numbers, np.int64)),
        "table": pd.DataFrame({"row": np.asarray(rows, np.uint64), "word": ["w"] * len(rows)}),
        "arrow": pa.table({"row": pa.array(rows, pa.uint64())}),
    },
    st.integers(0, 2**70),
    st.lists(st.integers(-(2**40), 2**40), max_size=3),
    st.lists(st.sampled_from("abcd"), max_size=3),
    st.lists(st.integers(2**63, 2**64 - 1), max_size=3),
)


def plain(value: Any) -> Any:
    """A value in a form that == compares by content."""
    if isinstance(value, Hist):
        names = list(value.axes[0])
        return {name: value[name, :].values(flow=True).tolist() for name in names}, names
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Yields):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.tolist()
    if isinstance(value, ak.Array):
        return value.to_list()
    if isinstance(value, pd.DataFrame):
        return value.to_dict("list"), value.index.tolist()
    if isinstance(value, pa.Table):
        return value.to_pydict()
    return value


@settings(max_examples=40)
@given(st.lists(outputs, min_size=1, max_size=6), st.lists(st.integers(1, 4), max_size=5))
def test_any_grouping_gives_the_same(values, sizes):
    values = [detach(value) for value in values]
    before = copy.deepcopy(values)
    assert plain(in_any_grouping(values, sizes)) == plain(merge(values))
    assert [plain(value) for value in values] == [plain(value) for value in before]  # inputs are left alone


@settings(max_examples=20)
@given(st.lists(outputs, min_size=1, max_size=6))
def test_rows_stay_in_the_order_of_the_chunks(values):
    whole = merge(values)
    assert whole["table"]["row"].tolist() == [row for value in values for row in value["table"]["row"]]
    assert whole["arrow"]["row"].to_pylist() == whole["table"]["row"].tolist()
    assert whole["list"] == [word for value in values for word in value["list"]]
    assert whole["numbers"].tolist() == [number for value in values for number in value["numbers"]]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.lists(st.integers(1, 9), max_size=9))
def test_weights_differ_by_rounding_at_most(weights, sizes):
    total = in_any_grouping(weights, sizes)
    assert total == pytest.approx(merge(weights), rel=1e-12, abs=1e-12 * sum(map(abs, weights)))


# ---------------------------------------------------------------- numbers


def test_numbers_do_not_wrap_around_or_lose_precision():
    assert merge([np.uint8(200)] * 3) == 600
    assert merge([np.int32(2**31 - 1)] * 3) == 3 * (2**31 - 1)
    assert merge([2**63, 2**63]) == 2**64
    assert merge([np.float32(0.1)] * 10) == pytest.approx(10 * float(np.float32(0.1)), rel=1e-15)
    assert merge([np.bool_(True)] * 3) == 3  # and not True


@pytest.mark.parametrize(
    "value", [np.uint8(3), np.float32(0.5), np.bool_(True), np.array(3), np.int64(3), np.complex64(1j)]
)
def test_one_chunk_gives_the_same_type_as_many(value):
    one, many = merge([detach(value)]), merge([detach(value), detach(value * 0)])
    assert type(one) in (type(many), bool)
    assert one == many


def test_int_and_float_add_to_float():
    assert merge([1, 0.5]) == 1.5


# ---------------------------------------------------------------- histograms

STORAGES = ["Int64", "Double", "Weight", "Mean", "WeightedMean", "Unlimited", "AtomicInt64"]


@pytest.mark.parametrize("storage", STORAGES)
def test_histograms_of_each_storage_add(storage):
    def make(values: Sequence[float]) -> Hist:
        histogram = getattr(Hist.new.Reg(5, 0, 5, name="x"), storage)()
        return histogram.fill(values, **({"sample": values} if "Mean" in storage else {}))

    parts = [make([0.5, 1.5]), make([1.5]), make([7.0, -1.0])]
    before = [copy.deepcopy(part) for part in parts]
    whole = merge([{"h": part} for part in parts])["h"]
    assert whole.values(flow=True) == pytest.approx(make([0.5, 1.5, 1.5, 7.0, -1.0]).values(flow=True), nan_ok=True)
    for part, old in zip(parts, before, strict=True):
        assert np.array_equal(part.values(flow=True), old.values(flow=True), equal_nan=True)


def test_growing_categories_are_united_by_name():
    def make(*names: str) -> Hist:
        return Hist.new.StrCat([], growth=True, name="c").IntCat([], growth=True, name="n").Weight().fill(
            c=list(names), n=[len(name) for name in names], weight=2.0
        )  # fmt: skip

    whole = merge([make("mu"), make("e", "tau"), make("tau", "mu")])
    assert list(whole.axes["c"]) == ["mu", "e", "tau"]
    assert whole[{"c": "tau", "n": sum}].value == 4
    assert whole[{"c": "tau", "n": sum}].variance == 8
    assert whole.sum().value == 10


@pytest.mark.parametrize(
    "other",
    [
        Hist.new.Reg(4, 0, 4, name="x").Int64(),
        Hist.new.Reg(3, 0, 4, name="x").Int64(),
        Hist.new.Reg(3, 0, 3, name="y").Int64(),
        Hist.new.Reg(3, 0, 3, name="x").Double(),
        Hist.new.Reg(3, 0, 3, name="x").Weight(),
        Hist.new.Reg(3, 0, 3, name="x").Reg(3, 0, 3).Int64(),
    ],
    ids=["bins", "edges", "name", "Double", "Weight", "dimension"],
)
def test_histograms_that_cannot_be_added_are_named(other):
    first = Hist.new.Reg(3, 0, 3, name="x").Int64()
    with pytest.raises(MergeError, match=r"result\['signal'\]\['mass'\].*cannot be added.*same axes"):
        merge([{"signal": {"mass": first}}, {"signal": {"mass": other}}])


# ---------------------------------------------------------------- mappings


def test_keys_that_some_chunks_miss_are_kept():
    assert merge([{"a": 1}, {"b": {"c": 2}}, {"a": 3, "b": {"d": 4}}]) == {"a": 4, "b": {"c": 2, "d": 4}}


def test_a_counter_keeps_its_zeros_and_its_type():
    for values in ([Counter(a=1), Counter(a=-1, b=2)], [Counter(a=0, b=2)]):
        whole = merge([detach({"c": value}) for value in values])["c"]
        assert whole == {"a": 0, "b": 2}
        assert isinstance(whole, Counter)
        assert set(whole) == {"a", "b"}


@pytest.mark.parametrize("kind", [dict, OrderedDict, lambda items: defaultdict(int, items)])
def test_other_mappings_become_dicts(kind):
    values = [{"n": kind({"a": 1})}, {"n": kind({"b": 1})}]
    for chunks in (1, 2):
        whole = merge([detach(value) for value in values[:chunks]])
        assert type(whole["n"]) is dict
        assert set(whole["n"]) == set(["a", "b"][:chunks])


def test_named_tuples_by_field():
    whole = merge([Yields(1, np.array([1.0])), Yields(2, np.array([2.0]))])
    assert isinstance(whole, Yields)
    assert whole.passed == 3
    assert whole.mass.tolist() == [1, 2]
    with pytest.raises(MergeError, match=r"result\.mass"):
        merge([Yields(1, np.zeros(1)), Yields(2, "text")])


def test_text_that_agrees_is_kept():
    assert merge(["2018", np.str_("2018")]) == "2018"
    with pytest.raises(MergeError, match=r"differs between chunks \('2017', '2018'\)"):
        merge([{"era": "2018"}, {"era": "2017"}])


def test_lists_and_sets():
    assert merge([[1], [], [2, 1]]) == [1, 2, 1]
    assert merge([{1}, {2, 1}]) == {1, 2}
    assert merge([frozenset({1}), frozenset({2})]) == {1, 2}


@pytest.mark.parametrize("kind", [Cutflow, LongCutflow])
def test_an_accumulator_of_the_users_own(kind):
    check_output({"cutflow": kind((1, 2))})
    assert merge([kind((1, 2)), kind((3, 4))]).steps == (4, 6)


# ---------------------------------------------------------------- columns

EVENT = 2**63 + 12345  # a float cannot hold it


def numpy_column(values: list[int], dtype: Any = np.uint64) -> Any:
    return np.asarray(values, dtype)


def awkward_column(values: list[int], dtype: Any = np.uint64) -> Any:
    return ak.Array({"event": np.asarray(values, dtype)})


def pandas_column(values: list[int], dtype: Any = np.uint64) -> Any:
    return pd.DataFrame({"event": np.asarray(values, dtype)})


def arrow_column(values: list[int], dtype: Any = np.uint64) -> Any:
    return pa.table({"event": np.asarray(values, dtype)})


COLUMNS = [numpy_column, awkward_column, pandas_column, arrow_column]


def content(value: Any) -> list[int]:
    if isinstance(value, (pd.DataFrame, pa.Table)):
        return [int(event) for event in value["event"].to_numpy()]
    return [int(event) for event in (value["event"] if isinstance(value, ak.Array) else value)]


@pytest.mark.parametrize("column", COLUMNS)
def test_an_empty_part_of_another_type_changes_no_event_number(column: Callable[..., Any]):
    for order in ([[], [EVENT]], [[EVENT], []], [[], [EVENT], []]):
        parts = [column(values, np.uint64 if values else np.float64) for values in order]
        assert content(merge(parts)) == [EVENT]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_parts_that_would_change_event_numbers_are_refused(column: Callable[..., Any], dtype: Any):
    with pytest.raises(MergeError, match=r"result\['rows'\].*(double|int64|float64)"):
        merge([{"rows": column([EVENT])}, {"rows": column([1], dtype)}])


@pytest.mark.parametrize("column", COLUMNS[:3])
def test_precision_may_grow(column: Callable[..., Any]):
    assert content(merge([column([1], np.int32), column([2**40], np.int64)])) == [1, 2**40]
    assert content(merge([column([1], np.float32), column([2], np.float64)])) == [1, 2]


def test_numpy_shapes():
    assert merge([np.zeros((2, 3)), np.array([]), np.ones((1, 3))]).shape == (3, 3)
    with pytest.raises(MergeError, match="cannot be merged"):
        merge([np.zeros((2, 3)), np.zeros((2, 4))])


def test_numpy_masks_and_vectors_are_kept():
    part = np.ma.array([1, 2], mask=[False, True])
    assert merge([part, part]).tolist() == [1, None, 1, None]
    muons = vector.array({"pt": [1.0, 2.0], "phi": [0.0, 1.0], "eta": [0.0, 0.0], "mass": [0.1, 0.1]})
    both = merge([muons, muons])
    assert type(both) is type(muons)
    assert both.pt.tolist() == [1, 2, 1, 2]


def test_a_slice_does_not_hold_the_whole_column():
    column = np.arange(1_000_000)
    assert detach({"few": column[:3]})["few"].base is None


@pytest.mark.parametrize(
    "parts",
    [
        [[{"pt": 1.5, "q": [1]}], [], [{"pt": 2.5, "q": []}]],
        [[1, None], [None], [2]],
        [["abc"], [], ["d", ""]],
        [[[1, 2], []], [[3]]],
        [[{"mu": {"pt": [1.0]}}], [{"mu": {"pt": []}}]],
        [[True], [False]],
    ],
    ids=["records", "options", "strings", "lists", "nested", "flags"],
)
def test_awkward_arrays(parts):
    whole = merge([detach(ak.Array(part)) for part in parts])
    assert whole.to_list() == [item for part in parts for item in part]
    assert "union" not in str(whole.type)


def test_awkward_behaviours_are_kept():
    muons = ak.zip({"pt": [1.0], "eta": [0.0], "phi": [0.0], "mass": [0.0]}, with_name="Momentum4D")
    muons = ak.with_name(vector.awk(muons), "Momentum4D")
    assert merge([muons, muons]).energy.to_list() == [1, 1]


@pytest.mark.parametrize(
    ("first", "second"),
    [([{"pt": 1.0}], [{"eta": 1.0}]), ([1], ["a"]), ([1], [[1]]), ([{"pt": 1}], [1])],
    ids=["fields", "text", "lists", "record"],
)
def test_awkward_types_that_differ_are_refused(first, second):
    with pytest.raises(MergeError, match=r"result\['rows'\].*different"):
        merge([{"rows": ak.Array(first)}, {"rows": ak.Array(second)}])


def test_awkward_types_that_differ_below_are_named():
    with pytest.raises(MergeError, match=r"\.mu\.pt has the types float64 and int64"):
        merge([ak.Array([{"mu": {"pt": 1}}]), ak.Array([{"mu": {"pt": 1.0}}])])


@pytest.mark.parametrize("make", [pd.DataFrame, pa.table], ids=["pandas", "arrow"])
def test_a_column_that_some_chunks_miss_is_refused(make):
    with pytest.raises(MergeError, match=r"result\['rows'\]: column 'sf' exists in some chunks only"):
        merge([{"rows": make({"m": [1], "sf": [1]})}, {"rows": make({"m": [1]})}])


@pytest.mark.parametrize("make", [pd.DataFrame, pa.table], ids=["pandas", "arrow"])
def test_an_empty_table_needs_no_columns(make):
    assert len(merge([make({}), make({"m": [1]}), make({})])) == 1


def test_row_numbers_of_a_chunk_do_not_stay():
    frame = pd.DataFrame({"m": [1, 2, 3]})
    assert merge([frame[frame.m > 1], frame[frame.m != 2]]).index.tolist() == [0, 1, 2, 3]
    named = frame.set_index(pd.Index([7, 8, 9], name="entry"))
    assert merge([named, named]).index.tolist() == [7, 8, 9, 7, 8, 9]


def test_categories_of_a_frame_are_united():
    parts = [pd.DataFrame({"file": pd.Categorical([name])}) for name in "abc"]
    whole = merge(parts)["file"]
    assert whole.tolist() == ["a", "b", "c"]
    assert isinstance(whole.dtype, pd.CategoricalDtype)


def test_series():
    parts = [pd.Series([1], name="n"), pd.Series([2], name="n")]
    assert merge(parts).tolist() == [1, 2]


def test_arrow_dictionaries_of_many_names():
    def part(name: str) -> Any:
        return detach(pa.Table.from_pandas(pd.DataFrame({"file": pd.Categorical([name, name])})))

    names = [f"file{i}.root" for i in range(300)]  # more than the 8-bit numbers that pandas chooses can tell apart
    whole = merge([merge([part(name) for name in names[:150]]), merge([part(name) for name in names[150:]])])
    assert whole["file"].to_pylist() == [name for name in names for _ in range(2)]
    assert pa.types.is_dictionary(whole["file"].type)


# ---------------------------------------------------------------- what is refused

Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (None, "returned nothing"),
        (Hist.new.Reg(3, 0, 3).Int64(), "returned a Hist"),
        ((1, 2), "returned a tuple"),
        (np.zeros(3), "returned a ndarray"),
        ({"a": None}, r"result\['a'\] is None"),
        ({"a": {"b": (1, 2)}}, r"result\['a'\]\['b'\] is a tuple"),
        ({"a": lambda: 1}, "is a function"),
        ({"a": (i for i in ())}, "is a generator"),
        ({"a": b"x"}, "is a bytes"),
        ({"a": np.datetime64("2020")}, "is a datetime64"),
        ({"a": ak.Record({"x": 1})}, "is a Record"),
        ({"a": Pair(1, None)}, r"result\['a'\]\.b is None"),
        ({"a": object()}, "is a object"),
    ],
)
def test_what_cannot_be_merged_is_refused_at_once(output, words):
    with pytest.raises(MergeError, match=words + r".*Return"):
        check_output(output)


def test_a_figure_is_refused():
    from matplotlib.figure import Figure

    with pytest.raises(MergeError, match=r"result\['plot'\] is a Figure"):
        check_output({"plot": Figure()})


@pytest.mark.parametrize(("first", "second"), [(1, "a"), (np.zeros(1), [1]), ({"a": 1}, 1), ([1], {1})])
def test_types_that_differ_between_chunks_are_refused(first, second):
    with pytest.raises(MergeError, match=r"result\['x'\] is a .* in one chunk and a .* in another"):
        merge([{"x": first}, {"x": second}])


BIG = 2**53 + 1
STRUCT = [("a", "i8")]


def frame(values, dtype):
    return pd.DataFrame({"x": pd.array(values, dtype=dtype)})


def ns(text, unit="ns"):
    return np.array([text], f"M8[{unit}]")


@pytest.mark.parametrize(
    ("first", "second", "types"),
    [
        (frame([BIG], "Int64"), frame([1.5], "float64"), "'?x'? has the types Int64 and float64"),
        (frame([BIG], "Int64"), frame([1.5], "Float64"), "Float64 and Int64"),
        (frame([BIG], "int64"), frame([1.5], "Float64"), "Float64 and int64"),
        (frame([True], "boolean"), frame([2], "Int64"), "Int64 and boolean"),
        (frame([2**64 - 1], "UInt64"), frame([-1], "Int64"), "Int64 and UInt64"),
        (frame(["a"], "string"), frame([1], "Int64"), "Int64 and string"),
        (frame(["a"], "string").x, frame([1], "Int64").x, "Int64 and string"),
        (frame([BIG], "category"), frame([1.5], "category"), "category of float64 .* and category of int64"),
        (frame([BIG], "category"), frame([1.5], "float64"), "category of int64 .* and float64"),
        (frame(ns("2020-01-01T00:00:00.000000001"), "M8[ns]"), frame(ns("2500-01-01", "s"), "M8[s]"), r"\[ns\]"),
        (frame(ns("2020-01-01"), "M8[ns]"), frame([1], "int64"), r"datetime64\[ns\] and int64"),
        (
            frame([1], "int64").set_index(pd.Index([BIG], name="e")),
            frame([1], "int64").set_index(pd.Index([1.5], name="e")),
            "the index 'e'",
        ),
        (np.array([(BIG,)], STRUCT), np.array([(1.5,)], [("a", "f8")]), "'a'.*int64|'<i8'.*"),
        (np.array([(1, 2)], "i4,i4"), np.array([(1, 2)], "i4,f4"), "the types"),
        (ns("2020-01-01T00:00:00.000000001"), ns("2500-01-01", "s"), r"datetime64\[ns\] and datetime64\[s\]"),
        (np.array(["a"]), np.array([1]), "<U1 and int64"),
        (np.array([b"a"]), np.array(["a"]), r"<U1 and \|S1"),
        (np.array([2**64 - 1], "u8"), np.array([-1]), "int64 and uint64"),
        (np.array([BIG]), np.array([1j]), "complex128 and int64"),
        (ak.Array([BIG, "a"]), ak.Array([1.5, "a"]), "float64 and int64"),
    ],
    ids=str,
)
def test_no_type_of_column_changes_values(first, second, types):
    for parts in ([first, second], [second, first]):
        with pytest.raises(MergeError, match=types):
            merge(parts)
    if len(first):
        assert merge([first, second[:0]]) is not None


@pytest.mark.parametrize(
    ("first", "second", "dtype"),
    [
        (frame([1], "Int32"), frame([BIG], "Int64"), "Int64"),
        (frame([1], "int32"), frame([BIG], "Int64"), "Int64"),
        (frame([0.5], "Float32"), frame([0.1], "Float64"), "Float64"),
        (frame(["a"], "category"), frame(["b"], "category"), "category"),
        (frame(ns("2020-01-01", "s"), "M8[s]"), frame(ns("2020-01-01"), "M8[ns]"), "datetime64[ns]"),
    ],
    ids=str,
)
def test_types_of_tables_may_grow_if_values_stay(first, second, dtype):
    joined = merge([first, second]).x
    assert joined.dtype == dtype
    assert joined.tolist() == [first.x[0], second.x[0]]


def test_types_of_arrays_may_grow_if_values_stay():
    assert merge([np.array([1], "i4"), np.array([BIG])]).tolist() == [1, BIG]
    assert merge([np.array(["a"]), np.array(["bcd"])]).tolist() == ["a", "bcd"]
    assert merge([np.array([(1,)], [("a", "i4")]), np.array([(BIG,)], STRUCT)])["a"].tolist() == [1, BIG]
    assert merge([np.array(["2020-01-01"], "M8[s]"), np.array(["NaT"], "M8[ns]")]).dtype == "M8[ns]"


@pytest.mark.parametrize("storage", ["Double", "Int64"])
@pytest.mark.parametrize("weight", [None, 2])
def test_a_sum_of_histograms_knows_whether_they_were_filled_with_weights(storage, weight):
    def part():
        return getattr(Hist.new.Reg(3, 0, 3), storage)().fill([0.5, 1.5], weight=weight)

    total = merge([part(), part(), part()])
    assert (total.variances() is None) == (part().variances() is None) == (weight is not None)


def test_dask_knows_how_large_a_partial_result_is():
    """It decides where merges run and what workers spill: a plain object counts as 56 bytes."""
    histogram = Hist.new.Reg(100_000, 0, 1).Double()
    partial = Partial([Segment(0, 1, {"mass": histogram}), Segment(2, 3, {"rows": np.zeros(50_000)})])
    assert 1_200_000 <= sizeof(partial) < 1_300_000
    assert sizeof(Partial()) < 1000
