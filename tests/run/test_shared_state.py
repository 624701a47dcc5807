"""Functions that accumulate outside themselves are refused; those that load something once are not."""

from __future__ import annotations

import functools
import itertools
import random
import types
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hist import Hist
from run_tools import write_events

import af_kit as af
from af_kit.errors import FunctionError, MergeError
from af_kit.run.aliasing import Aliasing
from af_kit.run.shared_state import SharedState

total: Counter[str] = Counter()
rows: list[int] = []
recent: deque[int] = deque()
histogram = Hist.new.Reg(3, 0, 1).Int64()
sums = np.zeros(3)
number = 0
scale_factors: Any = None
evaluators: dict[str, Any] = {}
TABLE = np.arange(1000)
space = types.SimpleNamespace(n=0)
counter = itertools.count()
lazy: Any = None
column = ak.Array([0])


def adds_to_a_counter(events):
    total["n"] += len(events)
    return {"n": total["n"]}


def appends_to_a_list(events):
    rows.append(len(events))
    return {"n": sum(rows)}


def appends_to_a_deque(events):
    recent.append(len(events))
    return {"n": sum(recent)}


def fills_a_histogram(events):
    histogram.fill(np.full(len(events), 0.5))
    return {"n": histogram.sum()}


def adds_to_an_array(events):
    sums[0] += len(events)
    return {"n": sums[0]}


def adds_to_a_number(events):
    global number
    number += len(events)
    return {"n": number}


def adds_to_a_new_global(events):
    globals()["made_here"] = globals().get("made_here", 0) + len(events)
    return {"n": made_here}  # noqa: F821


def adds_to_a_default(events, seen={}):  # noqa: B006
    seen["n"] = seen.get("n", 0) + len(events)
    return {"n": seen["n"]}


def adds_to_its_attribute(events):
    adds_to_its_attribute.n = getattr(adds_to_its_attribute, "n", 0) + len(events)
    return {"n": adds_to_its_attribute.n}


def adds_to_a_namespace(events):
    space.n += len(events)
    return {"n": space.n}


def counts_calls(events):
    return {"n": next(counter)}


def fills_what_it_made_at_first(events):
    global lazy
    if lazy is None:
        lazy = Hist.new.Reg(3, 0, 1).Int64()
    lazy.fill(np.full(len(events), 0.5))
    return {"n": lazy.sum()}


def lengthens_a_column(events):
    global column
    column = ak.concatenate([column, [len(events)]])
    return {"n": ak.sum(column)}


def calls_a_helper(events):
    return adds_to_a_counter(events)


def adds_in_a_lambda(events):
    (lambda: rows.append(len(events)))()
    return {"n": sum(rows)}


@functools.wraps(adds_to_a_counter)
def wraps_another(events):
    return adds_to_a_counter(events)


def closures():
    n, seen = 0, []

    def adds_to_a_number_around_it(events):
        nonlocal n
        n += len(events)
        return {"n": n}

    def appends_to_a_list_around_it(events):
        seen.append(len(events))
        return {"n": sum(seen)}

    return adds_to_a_number_around_it, appends_to_a_list_around_it


class Analysis:
    """A callable with state of its own and of its class."""

    seen: dict[str, int] = {}  # noqa: RUF012
    total = 0

    def __init__(self):
        self.n = 0
        self.nested = {"counts": [0]}

    def __call__(self, events):
        self.n += len(events)
        return {"n": self.n}

    def deep(self, events):
        self.nested["counts"][0] += len(events)
        return {"n": self.nested["counts"][0]}

    def of_the_class(self, events):
        Analysis.total += len(events)
        return {"n": Analysis.total}

    def in_a_mapping_of_the_class(self, events):
        self.seen["n"] = self.seen.get("n", 0) + len(events)
        return {"n": self.seen["n"]}


def append(rows, events):
    rows.append(len(events))
    return {"n": sum(rows)}


ACCUMULATING = [
    adds_to_a_counter,
    appends_to_a_list,
    appends_to_a_deque,
    fills_a_histogram,
    adds_to_an_array,
    adds_to_a_number,
    adds_to_a_new_global,
    adds_to_a_default,
    adds_to_its_attribute,
    adds_to_a_namespace,
    counts_calls,
    fills_what_it_made_at_first,
    lengthens_a_column,
    calls_a_helper,
    adds_in_a_lambda,
    wraps_another,
    *closures(),
    Analysis(),
    Analysis().deep,
    Analysis().of_the_class,
    Analysis().in_a_mapping_of_the_class,
    functools.partial(append, []),
]


def loads_once(events):
    global scale_factors
    if scale_factors is None:
        scale_factors = random.Random(1)
    return {"n": len(events)}


def keeps_evaluators(events):
    if "year" not in evaluators:
        evaluators["year"] = random.Random(1)
    return {"n": len(events)}


@functools.cache
def table():
    return np.arange(10)


def uses_a_cache(events):
    return {"n": len(events) + 0 * int(table()[0])}


class LoadsWhenUsed:
    """Holds a lookup table, made at the first use."""

    @functools.cached_property
    def table(self):
        return np.arange(10)

    def __call__(self, events):
        return {"n": len(events) + 0 * int(self.table[0])}


def reads_a_table(events):
    return {"n": len(events) + 0 * int(TABLE[0])}


class LoadsAtTheFirstCall:
    """Fills attributes that are None or empty, and sets a flag."""

    def __init__(self):
        self.table, self.luminosity, self.cuts, self.ready = None, None, {}, False

    def __call__(self, events):
        if not self.ready:
            self.table, self.luminosity, self.cuts["pt"], self.ready = np.arange(10), {"2018": 59.8}, 20, True
        return {"n": len(events)}


HARMLESS = [
    loads_once,
    keeps_evaluators,
    uses_a_cache,
    LoadsWhenUsed(),
    LoadsAtTheFirstCall(),
    reads_a_table,
    lambda events: {"n": len(events)},
]


def name(function):
    return getattr(function, "__name__", type(function).__name__)


def call_twice(state, function):
    for _ in range(2):
        state.call(function, [1, 2])


@pytest.mark.parametrize("function", ACCUMULATING, ids=name)
def test_what_a_function_adds_outside_itself_is_refused(function):
    state = SharedState(function)
    with pytest.raises(MergeError, match=r"The function changes .*, which exists outside it"):
        call_twice(state, function)


@pytest.mark.parametrize("function", HARMLESS, ids=name)
def test_what_is_loaded_once_or_only_read_is_not(function):
    state = SharedState(function)
    for _ in range(3):
        state.call(function, [1, 2])


# ---------------------------------------------------------------- in runs


def three_files(folder, entries=1000):
    return [str(write_events(folder / f"f{i}.root", entries, i)) for i in range(3)]


def accumulator():
    seen = {"n": 0}

    def adds(events):
        seen["n"] += len(events)
        return {"n": seen["n"]}

    return adds


@pytest.mark.parametrize("chunk_entries", [1000, 50], ids=["a chunk per thread", "many chunks"])
def test_a_run_on_threads_stops(tmp_path, chunk_entries):
    with pytest.raises(FunctionError, match=r"entries \d+ to \d+ of .*f\d.root.*The function changes 'seen'"):
        af.process(accumulator(), three_files(tmp_path), chunk_entries=chunk_entries)


def test_a_run_lists_every_chunk_that_counts_outside(tmp_path):
    with pytest.warns(UserWarning, match="The function changes 'seen'"):
        result = af.process(accumulator(), three_files(tmp_path), on_error="collect")
    assert result.report.entries == {"planned": 3000, "processed": 0, "failed": 3000}


def test_a_run_on_workers_stops(tmp_path, client):
    with pytest.raises(FunctionError, match=r"f\d.root.*The function changes 'seen'"):
        af.process(accumulator(), three_files(tmp_path), client, chunk_entries=100)


@pytest.mark.parametrize("on_cluster", [False, True], ids=["threads", "cluster"])
def test_what_is_loaded_at_the_first_chunk_may_stay(tmp_path, on_cluster, request):
    client = request.getfixturevalue("client") if on_cluster else None
    assert af.process(LoadsAtTheFirstCall(), three_files(tmp_path), client, chunk_entries=50)["n"] == 3000


@pytest.mark.parametrize("make", [dict, Counter], ids=["dict", "Counter"])
def test_the_same_mapping_is_refused_on_any_thread(make):
    check, outputs = Aliasing().check, [make(n=1), make(n=2)]
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        one.submit(check, {"all": outputs[0]}).result()
        one.submit(check, {"all": outputs[1]}).result()
        with pytest.raises(MergeError, match=r"result\['all'\] is the same .* object as for another chunk"):
            other.submit(check, {"all": outputs[0]}).result()
        with pytest.raises(MergeError, match=r"result is the same .* object as for another chunk"):
            other.submit(check, outputs[0]).result()


def test_a_constant_without_content_may_be_returned_often():
    nothing = {"n": 0, "rows": [], "year": "2018", "nested": {"h": Hist.new.Reg(3, 0, 1).Int64()}}
    aliasing = Aliasing()
    for _ in range(3):
        aliasing.check(nothing)
