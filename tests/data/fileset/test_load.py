"""`load_fileset`: the sources that it accepts."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import uproot
from bits import write_tree
from fileset_tools import error_of, paths, write
from hypothesis import given
from hypothesis import strategies as st

from af_kit.data.fileset.load import Dataset, File, Fileset, load_fileset, shipped_filesets
from af_kit.data.reading.read import read
from af_kit.errors import FilesetError, ReadError
from af_kit.run.plan import plan


def test_coffea_objects(folder):
    filespec = pytest.importorskip("coffea.dataset_tools.filespec")
    group = filespec.DataGroupSpec({"d": {"files": {"a.root": "Events"}, "metadata": {"year": 2018}}})
    fileset = load_fileset(group)
    assert paths(fileset) == [str(folder / "a.root")]
    assert fileset["d"].metadata == {"year": 2018}


@pytest.mark.parametrize("suffix", ["yaml", "yml", "json"])
def test_relative_paths_start_from_the_fileset_file(folder, suffix):
    path = folder / "more" / f"set.{suffix}"
    path.write_text(json.dumps({"d": {"files": ["d.root", "../a.root"]}}))
    assert paths(load_fileset(path)) == [str(folder / "more/d.root"), str(folder / "a.root")]


@pytest.mark.parametrize("suffix", ["yaml.gz", "json.gz"])
def test_packed_filesets(folder, suffix):
    path = folder / f"set.{suffix}"
    path.write_bytes(gzip.compress(json.dumps({"d": ["a.root"]}).encode()))
    assert paths(load_fileset(path)) == [str(folder / "a.root")]
    path.write_bytes(path.read_bytes()[:-9])
    assert "cannot be read" in error_of(path)


def test_a_glob_finds_a_name_with_a_colon(tmp_path):
    path = write_tree(tmp_path / "a.root:b.root", {"x": np.arange(3)})
    (chunk,) = plan(str(tmp_path / "*.root"))
    assert chunk.file == str(path)
    assert read(chunk).x.to_list() == [0, 1, 2]


def test_names_with_a_space_in_one_string(folder):
    assert "write a list: files: ['my data.root']" in error_of({"d": {"files": "my data.root"}})
    assert len(load_fileset({"d": {"files": "a.root b.root:T\n c.root"}})["d"].files) == 3
    assert len(load_fileset({"d": {"files": "one two", "rootpath": "/data"}})["d"].files) == 2
    assert paths(load_fileset({"d": {"files": ["my data.root"]}})) == [str(folder / "my data.root")]


@pytest.mark.parametrize("steps", [[0, 3], 3, [[0]], [[0, "3"]], "ab", [None]])
def test_steps_that_are_not_pairs(steps):
    body = {"a.root": {"object_path": "Events", "steps": steps, "num_entries": 3}}
    assert "list of [start, stop] pairs" in error_of({"d": {"files": body}})


def test_what_coffea_says_of_a_file_is_compared_when_it_is_planned(tmp_path):
    path = str(write_tree(tmp_path / "f.root", {"x": np.arange(3)}))
    with uproot.open(path) as file:
        uuid = str(file.file.uuid)
    right = {"object_path": "Events", "steps": [[0, 3]], "num_entries": 3, "uuid": uuid}
    for _ in range(2):  # also if its layout is known
        assert len(plan({"d": {"files": {path: right}}})) == 1
        for wrong, match in [
            ({"uuid": uuid[:-1] + "xyz"[0]}, "uuid must be"),
            ({"uuid": "0" * 7 + "1" + uuid[8:]}, f"its uuid is {uuid}, not 00000001-.*Remove 'uuid'"),
            ({"num_entries": 4, "steps": [[0, 4]]}, "its num_entries is 3, not 4.*preprocess it again"),
            ({"num_entries": "3", "steps": None}, "num_entries must be"),
        ]:
            with pytest.raises((FilesetError, ReadError), match=match):
                plan({"d": {"files": {path: right | wrong}}})
    assert len(plan({"d": {"files": {path: right | {"uuid": "0" * 32}}}})) == 1


def test_relative_paths_without_a_file_start_from_the_working_directory(folder):
    assert paths(load_fileset({"d": ["a.root"]})) == [str(folder / "a.root")]


def test_one_path(folder):
    fileset = load_fileset("a.root")
    assert fileset == Fileset([Dataset("a", (File((str(folder / "a.root"),), "Events"),))])
    assert load_fileset(Path("a.root")) == fileset
    assert load_fileset("a.root:ntuple")["a"].files[0].treename == "ntuple"


def test_several_paths_and_filesets_together(folder):
    write(folder, "mc: [c.root]")
    fileset = load_fileset(["a.root", "fileset.yaml", "b.root:T"])
    assert list(fileset) == ["mc", "files"]
    assert [file.treename for file in fileset["files"].files] == ["Events", "T"]
    assert "two datasets called 'files'" in error_of(["a.root", "c.root", write(folder, "files: [b.root]")])


@pytest.mark.parametrize(
    ("path", "name", "treename"),
    [
        ("root://host:1094//eos/x.root", "x", "Events"),
        ("root://host:1094//eos/x.root:a/b", "x", "a/b"),
        ("root://host.root:1094//eos/y.root", "y", "Events"),
        ("https://host/x.root?token=secret", "x", "Events"),
    ],
)
def test_urls(path, name, treename):
    (dataset,) = load_fileset(path).values()
    assert dataset.name == name
    assert dataset.files == (File((path.removesuffix(":a/b"),), treename),)


def test_treename_overrules_the_source(folder):
    assert load_fileset({"d": {"a.root": "Events"}}, treename="Runs")["d"].files[0].treename == "Runs"
    assert load_fileset(load_fileset("a.root"), treename="Runs")["a"].files[0].treename == "Runs"
    assert "names the tree 'x'" in error_of("a.root:x", treename="Runs")


def test_fileset_of_a_fileset(folder):
    fileset = load_fileset({"d": ["a.root"], "e": ["b.root"]})
    assert load_fileset(fileset) is fileset
    assert list(load_fileset(fileset, datasets="e")) == ["e"]


def test_shipped_dimuon(folder):
    assert "dimuon.yaml" in shipped_filesets()
    (dataset,) = load_fileset("dimuon.yaml").values()
    base = "root://eospublic.cern.ch//eos/root-eos/benchmark/CMSOpenDataDimuon/Run2012BC_DoubleMuParked_Muons"
    assert [file.path for file in dataset.files] == [f"{base}_{number}.root" for number in range(1, 21)]
    assert {file.treename for file in dataset.files} == {"Events"}
    assert dataset.metadata["isMC"] is False
    assert dataset.metadata["sqrt_s_TeV"] == 8


def test_own_filesets_take_precedence_over_shipped_ones(folder):
    write(folder, "mine: [a.root]", "dimuon.yaml")
    assert list(load_fileset("dimuon.yaml")) == ["mine"]


def test_misspelt_fileset_file(folder):
    assert "Did you mean 'dimuon.yaml'?" in error_of("dimun.yaml")
    assert "Did you mean 'dimuon.yaml'?" in error_of("dimuon")


def test_globs_of_other_datasets_are_not_evaluated(folder):
    assert list(load_fileset({"d": ["a.root"], "gone": ["gone/*.root"]}, datasets=["d"])) == ["d"]


@pytest.mark.parametrize("source", [5, None, [], [3], b"a.root", "", [""]])
def test_sources_that_are_not_filesets(source):
    with pytest.raises(FilesetError):
        load_fileset(source)


def test_missing_files_are_not_checked_here(folder):
    assert paths(load_fileset({"d": ["a.root", "gone.root"]})) == [str(folder / "a.root"), str(folder / "gone.root")]


names = st.text("abcXYZ019_-", min_size=1, max_size=8)


@given(st.dictionaries(names, st.lists(names, min_size=1, max_size=4), min_size=1, max_size=4))
def test_every_file_written_is_in_the_fileset(written):
    source = {
        dataset: {"files": {f"/data/{dataset}/{number}/{name}.root": "Events" for number, name in enumerate(files)}}
        for dataset, files in written.items()
    }
    fileset = load_fileset(source)
    assert {name: [file.path for file in fileset[name].files] for name in fileset} == {
        name: list(body["files"]) for name, body in source.items()
    }
