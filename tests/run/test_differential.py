"""Random functions over random events: the kit gives what plain uproot and awkward give on whole files.

A function is a list of steps of a small grammar: masks, sorts, the leading objects, pairs, and cross-references by
index from one collection to another; then sums, counts, histograms and columns of what is left, some of them in
compiled kernels. It runs on threads and on a cluster, in chunks of any size, with declared branches or not, on TTrees,
on RNTuples, and in two halves with a skim in between.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import awkward as ak
import numba
import numpy as np
import pytest
import uproot
from hist import Hist
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from af_kit.data.reading.flat import flat
from af_kit.run.process import process
from af_kit.run.stage_out import stage_out, write_manifest

FIELDS = {"Muon": ("pt", "eta", "charge"), "Jet": ("pt", "muonIdx")}


def events_of(entries: int, seed: int) -> dict[str, Any]:
    """Return columns of muons, and of jets that may refer to one of them."""
    random = np.random.default_rng(seed)
    muons, jets = random.integers(0, 4, entries), random.integers(0, 5, entries)
    nearest = np.concatenate([random.integers(-1, max(m, 1), j) for m, j in zip(muons, jets, strict=True)] or [[]])
    nearest = np.where(np.repeat(muons, jets) == 0, -1, nearest)
    return {
        "event": np.arange(entries, dtype=np.uint64) + np.uint64(1000 * seed),
        # eighths: their sums are exact in any order
        "Muon": ak.zip(
            {
                "pt": ak.unflatten(random.integers(0, 800, muons.sum()).astype(np.float32) / 8, muons),
                "eta": ak.unflatten(random.integers(-20, 20, muons.sum()).astype(np.float32) / 8, muons),
                "charge": ak.unflatten(random.choice([-1, 1], muons.sum()).astype(np.int32), muons),
            }
        ),
        "Jet": ak.zip(
            {
                "pt": ak.unflatten(random.integers(0, 800, jets.sum()).astype(np.float32) / 8, jets),
                "muonIdx": ak.unflatten(nearest.astype(np.int16), jets),
            }
        ),
    }


def write(path: Path, entries: int, seed: int, cluster: int, *, ntuple: bool = False) -> Path:
    """Write the events as a TTree or an RNTuple with clusters of so many entries."""
    columns = events_of(entries, seed)
    with uproot.recreate(path, compression=[None, uproot.ZSTD(1), uproot.LZ4(1), uproot.ZLIB(1)][seed % 4]) as file:
        make = file.mkrntuple if ntuple else file.mktree
        make("Events", {name: ak.Array(values).type.content for name, values in columns.items()})
        for start in range(0, entries, cluster):
            file["Events"].extend({name: values[start : start + cluster] for name, values in columns.items()})
    return path


SIZES = ((230, 50), (97, 97), (1, 1), (180, 33))


@pytest.fixture(scope="module")
def events_files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("differential")
    return [str(write(folder / f"f{i}.root", entries, i, basket)) for i, (entries, basket) in enumerate(SIZES)]


@pytest.fixture(scope="module")
def ntuple_files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("ntuples")
    return [
        str(write(folder / f"f{i}.root", entries, i, cluster, ntuple=True))
        for i, (entries, cluster) in enumerate(SIZES)
    ]


@pytest.fixture(scope="module")
def plain(events_files: list[str]) -> Any:
    """All events as uproot reads them, in the kit's structure."""
    arrays = [uproot.open(path)["Events"].arrays() for path in events_files]
    whole = ak.concatenate(arrays)
    records = {name: ak.zip({field: whole[f"{name}_{field}"] for field in of}) for name, of in FIELDS.items()}
    return ak.zip({"event": whole.event, **records}, depth_limit=1)


# ---------------------------------------------------------------------------------------------------- the grammar

cuts = st.tuples(st.just("cut"), st.sampled_from(("Muon", "Jet")), st.just("pt"), st.integers(0, 90), st.booleans())
STEPS = st.one_of(
    cuts,
    st.tuples(st.just("cut"), st.just("Muon"), st.just("charge"), st.just(0), st.booleans()),
    st.tuples(st.just("sort"), st.sampled_from(("Muon", "Jet")), st.booleans()),
    st.tuples(st.just("leading"), st.sampled_from(("Muon", "Jet")), st.integers(1, 3)),
    st.tuples(st.just("at least"), st.sampled_from(("Muon", "Jet")), st.integers(0, 3)),
    st.tuples(st.just("with muon")),
    st.tuples(st.just("every"), st.integers(1, 4)),
)
OUTPUTS = ("sum", "count", "hist", "column", "pairs", "reference", "compiled sum", "compiled pairs")
# What a compiled kernel returns, in plain awkward
UNCOMPILED = {"compiled sum": "weighted sum", "compiled pairs": "pairs"}
ENDS = st.lists(st.sampled_from(OUTPUTS), min_size=1, max_size=3, unique=True)


def run(steps: tuple[Any, ...], ends: tuple[str, ...], events: Any) -> dict[str, Any]:
    """Apply the steps, and return what the ends ask for."""
    return _ends(ends, *apply(steps, events))


def _ends(ends: tuple[str, ...], *selected: Any) -> dict[str, Any]:
    return {end: _end(end, *selected) for end in ends}


def expected(steps: tuple[Any, ...], ends: tuple[str, ...], plain: Any) -> dict[str, Any]:
    """Return the same on all events at once, without compiled kernels."""
    uncompiled = run(steps, tuple(UNCOMPILED.get(end, end) for end in ends), plain)
    return {end: listed(uncompiled[UNCOMPILED.get(end, end)]) for end in ends}


def apply(steps: tuple[Any, ...], events: Any) -> tuple[Any, Any, Any, Any]:
    """Return the selected muons and jets, the events' numbers, and the muons that an index refers to."""
    muons, jets, event = events.Muon, events.Jet, events.event
    all_muons = muons
    for step in steps:
        chosen = None
        if step[0] == "every":
            chosen = event % step[1] == 0
        elif step[0] == "with muon":
            jets = jets[jets.muonIdx >= 0]
        else:
            objects = muons if step[1] == "Muon" else jets
            if step[0] == "cut":
                above = objects[step[2]] > step[3]
                objects = objects[above if step[4] else ~above]
            elif step[0] == "sort":
                objects = objects[ak.argsort(objects.pt, axis=1, ascending=step[2], stable=True)]
            elif step[0] == "leading":
                objects = objects[:, : step[2]]
            else:
                chosen = ak.num(objects) >= step[2]
            muons, jets = (objects, jets) if step[1] == "Muon" else (muons, objects)
        if chosen is not None:
            muons, jets, event, all_muons = (part[chosen] for part in (muons, jets, event, all_muons))
    return muons, jets, event, all_muons


def _end(end: str, muons: Any, jets: Any, event: Any, all_muons: Any) -> Any:
    if end == "sum":
        return float(ak.sum(muons.pt, axis=None)) + float(ak.sum(jets.pt, axis=None))
    if end == "count":
        return {"events": len(event), "muons": int(ak.sum(ak.num(muons))), "jets": int(ak.sum(ak.num(jets)))}
    if end == "hist":
        return Hist.new.Reg(20, 0, 100).Int64().fill(ak.to_numpy(ak.flatten(jets.pt)))
    if end == "column":
        return {"event": ak.to_numpy(event), "eta": ak.Array({"eta": muons.eta}).eta}
    if end == "pairs":
        first, second = ak.unzip(ak.combinations(muons, 2))
        return float(ak.sum(first.pt * second.eta * (first.charge != second.charge), axis=None))
    if end == "reference":
        valid = jets[jets.muonIdx >= 0]
        return ak.to_packed(all_muons[valid.muonIdx].pt - valid.pt)
    if end == "weighted sum":
        return float(ak.sum(jets.pt * ak.num(jets), axis=None))
    if end == "compiled sum":
        offsets, fields = flat(jets, "pt")
        return float(_weighted_sum(offsets, fields["pt"]))
    offsets, fields = flat(muons, "pt", "eta", "charge")
    return float(_sum_of_pairs(offsets, fields["pt"], fields["eta"], fields["charge"]))


@numba.njit
def _weighted_sum(offsets: Any, pt: Any) -> float:
    total = 0.0
    for i in range(len(offsets) - 1):
        for j in range(offsets[i], offsets[i + 1]):
            total += pt[j] * (offsets[i + 1] - offsets[i])
    return total


@numba.njit
def _sum_of_pairs(offsets: Any, pt: Any, eta: Any, charge: Any) -> float:
    total = 0.0
    for i in range(len(offsets) - 1):
        for j in range(offsets[i], offsets[i + 1]):
            for k in range(j + 1, offsets[i + 1]):
                if charge[j] != charge[k]:
                    total += pt[j] * eta[k]
    return total


def listed(output: Any) -> Any:
    """Return plain values, to compare."""
    if isinstance(output, dict):
        return {name: listed(value) for name, value in output.items()}
    if isinstance(output, Hist):
        return output.values(flow=True).tolist()
    return output.tolist() if hasattr(output, "tolist") else output


programs = st.tuples(st.lists(STEPS, max_size=5).map(tuple), ENDS.map(tuple))


@given(programs, st.integers(40, 300), st.sampled_from((None, ["Muon", "Jet", "event"], ["*"])))
@settings(max_examples=24, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_threads(events_files, plain, program, chunk_entries, branches):
    function = functools.partial(run, *program)
    result = process(function, events_files, chunk_entries=chunk_entries, branches=branches, progress=False)
    result.report.check()
    assert listed(dict(result)) == expected(*program, plain)


@given(programs, st.integers(100, 300))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cluster(events_files, plain, client, program, chunk_entries):
    function = functools.partial(run, *program)
    result = process(function, events_files, client, chunk_entries=chunk_entries, progress=False)
    result.report.check()
    assert listed(dict(result)) == expected(*program, plain)


@given(programs, st.integers(40, 300), st.sampled_from((None, ["Muon", "Jet", "event"])))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rntuples(ntuple_files, plain, program, chunk_entries, branches):
    function = functools.partial(run, *program)
    result = process(function, ntuple_files, chunk_entries=chunk_entries, branches=branches, progress=False)
    result.report.check()
    assert listed(dict(result)) == expected(*program, plain)


def skim(steps: tuple[Any, ...], folder: str, events: Any) -> dict[str, Any]:
    """Apply the steps, and write what is left."""
    muons, jets, event, _ = apply(steps, events)
    table = ak.zip({"event": event, "Muon": muons, "Jet": jets}, depth_limit=1)
    return {"skim": stage_out(table, folder, events, format="root")}


# an index would refer to muons that the skim may lack
unlinked = ENDS.filter(lambda ends: "reference" not in ends).map(tuple)


@given(st.lists(STEPS, max_size=3).map(tuple), st.lists(STEPS, max_size=3).map(tuple), unlinked, st.integers(40, 300))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_skim_in_between(events_files, plain, tmp_path_factory, first, then, ends, chunk_entries):
    folder = str(tmp_path_factory.mktemp("skim"))
    made = process(functools.partial(skim, first, folder), events_files, chunk_entries=chunk_entries, progress=False)
    manifest = write_manifest(made["skim"], folder)
    want = expected(first + then, ends, plain)
    assert manifest.entries == len(apply(first, plain)[2])
    if manifest.files:
        result = process(functools.partial(run, then, ends), manifest.fileset(), progress=False)
        assert listed(dict(result)) == want
