"""ROOT: the same selection in RDataFrame on the kit's cluster, and the kit's files read by ROOT.

The ROOT wheel is in the environment of the benchmarks, not in the kit's: root_programs.py runs there.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
import yaml
from coffea.nanoevents import NanoEventsFactory

import af_kit as af
from af_kit import simulate
from af_kit.analysis import dimuon, dsphipi
from benchmarks.peers import hmumu_coffea_runner, hmumu_kit

CHECKOUT = Path(__file__).parents[2]
PYTHON = CHECKOUT / ".venv-bench" / "bin" / "python"


@pytest.fixture(scope="module")
def root(require):
    """``root(program, *arguments)`` runs a program of root_programs.py, and returns its result."""
    programs = require("root", [str(PYTHON)])

    def run(program, *arguments):
        command = [programs[str(PYTHON)], str(Path(__file__).with_name("root_programs.py")), program]
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        done = subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, text=True, timeout=280, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """A fileset for each analysis, with files of different size."""
    folder = tmp_path_factory.mktemp("samples")
    ds = [
        simulate.dsphipi(folder / f"ds_{index}.root", entries, 5, file_index=index, cluster_entries=4000)
        for index, entries in enumerate((15_000, 9_000))
    ]
    mu = [simulate.dimuon(folder / f"mu_{index}.root", 12_000, 5, file_index=index) for index in range(2)]
    filesets = {
        "dsphipi": {"sample": {"treename": dsphipi.TREENAME, "files": [str(path) for path in ds]}},
        "dimuon": {"sample": {"treename": "Events", "files": [str(path) for path in mu]}},
    }
    paths = {}
    for name, fileset in filesets.items():
        paths[name] = folder / f"{name}.yaml"
        paths[name].write_text(yaml.safe_dump(fileset))
    return paths


@pytest.mark.parametrize("workers", [0, 2])
def test_the_ds_selection_has_the_same_candidates(root, samples, workers):
    answer = root("select", "dsphipi", samples["dsphipi"], workers)
    result = dsphipi.process(samples["dsphipi"], engine="numba", progress=False)
    rows = result["candidates"].to_pandas()
    assert len(rows) > 500
    assert [tuple(row) for row in answer["candidates"]] == sorted(zip(rows.mass, rows.chi2, strict=True))
    assert answer["histograms"]["mass"] == dsphipi.spectrum(result).values(flow=True).tolist()
    table = dsphipi.cutflow_table(result)
    assert answer["histograms"]["cutflow"] == table["events"].tolist()[:-1]


def test_the_dimuon_spectrum_has_the_same_bins(root, samples):
    answer = root("select", "dimuon", samples["dimuon"], 2)["histograms"]
    result = af.process(dimuon.histograms_numba, samples["dimuon"], progress=False)
    assert answer["multiplicity"] == [0, *result["multiplicity"].values(flow=True).tolist()[1:]]
    # ROOT computes the mass in single precision, so a few light pairs move to the next bin.
    mine, theirs = result["mass"].values(flow=True), np.array(answer["mass"])
    assert mine.sum() == theirs.sum()
    assert np.abs(np.cumsum(mine - theirs)).sum() < 0.005 * mine.sum()


def test_the_hmumu_selection_has_the_same_bins_in_all_peers_of_the_benchmarks(root, tmp_path):
    path = str(simulate.nanoaod(tmp_path / "mixture.root", 20_000, 7, cluster_entries=5000))
    expected = hmumu_kit.numbers(
        af.process(hmumu_kit.analyse, {"all": {"files": [path], "metadata": hmumu_kit.METADATA}}, progress=False)
    )
    events = NanoEventsFactory.from_root(
        {path: "Events"}, schemaclass=hmumu_coffea_runner.Schema, mode="virtual"
    ).events()
    arrays = hmumu_coffea_runner.numbers(hmumu_coffea_runner.analyse(events))
    for found in (arrays, root("hmumu", path)):
        for name, values in expected.items():
            assert np.array_equal(found[name], values), name
    assert expected["cutflow"][-1] > 10
    categories = np.reshape(expected["dimuon_mass"], (20, -1)).sum(axis=1)
    assert (categories[5:] > 0).all()  # every channel of every region


def test_workers_that_cannot_see_the_files(root, tmp_path):
    (tmp_path / "hidden").mkdir()
    files = [simulate.dimuon(tmp_path / "hidden" / f"mu_{i}.root", 5000 + i, 5, file_index=i) for i in range(3)]
    (tmp_path / "files.yaml").write_text(yaml.safe_dump({"sample": {"files": [str(path) for path in files]}}))
    answer = root("elsewhere", tmp_path / "files.yaml", tmp_path)
    if "skipped" in answer:
        pytest.skip(answer["skipped"])
    muons = sum(int(uproot.open(path)["Events"]["nMuon"].array(library="np").sum()) for path in files)
    assert answer == {"count": 15_003, "sum": muons, "kept": 3, "machines": 2}


def test_files_tokens_and_code_reach_every_worker(root, samples, tmp_path):
    factor = tmp_path / "factor.txt"
    factor.write_text("2.5")
    answer = root("everything", samples["dimuon"], factor)
    assert answer == {"count": 24_000, "sum": 60_000.0, "token": 1, "tasks elsewhere": 0}


def test_wrong_calls_raise_errors(root, samples):
    answers = root("refused", samples["dimuon"])
    assert answers["code"].startswith("InputError: ROOT cannot compile this C++ code")
    assert "this is not C++" in answers["code"]
    assert answers["trees"].startswith("FilesetError: The fileset has trees with 2 names (one, two)")
    assert answers["workers"].startswith("MissingExtraError: 1 of 1 workers do not have ROOT")


def test_root_reads_the_simulated_ntuple(root, samples):
    path = samples["dsphipi"].with_name("ds_1.root")
    answer = root("read", path)
    with uproot.open(path) as file:
        events = file[dsphipi.TREENAME].arrays()
    assert set(answer["types"]) == set(events.fields)
    assert answer["types"]["Mu01_Pt"] == "ROOT::VecOps::RVec<double>"
    assert answer["types"]["Muon_isPF"] == "ROOT::VecOps::RVec<int>"
    assert answer["types"]["Trigger_l1name"] == "ROOT::VecOps::RVec<string>"
    assert answer["entries"] == 9000
    assert answer["mass"] == pytest.approx(ak.sum(events.Triplet2_Mass))
    assert answer["global"] == ak.sum(events.Muon_isGlobal)
    assert answer["letters"] == sum(len(name) for names in events.Trigger_hltname for name in names.to_list())


def test_root_reads_the_candidates(root, samples, tmp_path):
    result = dsphipi.process(samples["dsphipi"], progress=False)
    dsphipi.write(result, tmp_path, plots=False)
    answer = root("candidates", tmp_path / "candidates.root")
    rows = result["candidates"].to_pandas()
    for name in ("mass", "weight", "entry", "candidate"):
        assert answer[name] == rows[name].tolist()
    assert answer["datasets"] == {"sample": len(rows), "other": 0}
