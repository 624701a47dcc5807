"""The accepted forms of a fileset, and the errors for others."""

import pytest
from fileset_tools import error_of, paths, write

from af_kit.data.fileset.load import File, load_fileset


def test_coffea_filesets(folder):
    source = {
        "ZJets": {"files": {"a.root": "Events", "b.root": {"object_path": "Other"}}, "metadata": {"xsec_pb": 6077.2}},
        "TTbar": {"files": {"c.root": "Events"}},
        "plain": ["more/d.root:Tree3Mu/ntuple"],
        "bare": {"more/deep/e.root": "Events"},
    }
    fileset = load_fileset(source)
    assert list(fileset) == ["ZJets", "TTbar", "plain", "bare"]
    assert fileset["ZJets"].files == (
        File((str(folder / "a.root"),), "Events"),
        File((str(folder / "b.root"),), "Other"),
    )
    assert fileset["ZJets"].metadata == {"xsec_pb": 6077.2}
    assert fileset["plain"].files[0].treename == "Tree3Mu/ntuple"
    assert fileset["bare"].files[0].path == str(folder / "more/deep/e.root")


def test_preprocessed_coffea_fileset(folder):
    file = {"object_path": "Events", "num_entries": 10, "uuid": "0" * 32, "steps": [[0, 5], [5, 10]]}
    assert load_fileset({"d": {"files": {"a.root": file}, "form": None, "metadata": None}})["d"].metadata == {}
    message = error_of({"d": {"files": {"a.root": {**file, "steps": [[0, 5]]}}}})
    assert "'steps'" in message
    assert "whole files" in message


@pytest.mark.parametrize("files", ["a.root more/d.root", "a.root\n   more/d.root\n", ["a.root", "more/d.root"]])
def test_files_in_one_string_below_a_rootpath(folder, files):
    fileset = load_fileset({"DsPhiPi": {"rootpath": f"{folder}/", "treename": "Tree3Mu/ntuple", "files": files}})
    assert fileset["DsPhiPi"].files == (
        File((f"{folder}/a.root",), "Tree3Mu/ntuple"),
        File((f"{folder}/more/d.root",), "Tree3Mu/ntuple"),
    )


def test_a_rootpath_that_is_a_url():
    fileset = load_fileset({"d": {"rootpath": "root://host//store/user", "files": "x.root y.root"}})
    assert paths(fileset) == ["root://host//store/user/x.root", "root://host//store/user/y.root"]


def test_a_rootpath_with_a_complete_path():
    assert "complete" in error_of({"d": {"rootpath": "/data", "files": "/other/x.root"}})


def test_replicas_in_order(folder):
    path = write(
        folder,
        """
        treename: Shared
        d:
          files:
            - replicas: [root://near//x.root, root://far//x.root]
            - {path: a.root, treename: Own}
        e:
          treename: Datasets
          files: [b.root]
        """,
    )
    fileset = load_fileset(path)
    assert fileset["d"].files == (
        File(("root://near//x.root", "root://far//x.root"), "Shared"),
        File((str(folder / "a.root"),), "Own"),
    )
    assert fileset["e"].files[0].treename == "Datasets"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("d:\n  file: [a.root]\n  metadata: {}\n", ["line 2", "'file'", "Did you mean 'files'?", "'d'"]),
        ("d:\n  fils: [a.root]\n", ["line 2", "Did you mean 'files'?"]),
        ("d:\n  files: [a.root]\n  treenam: Events\n", ["line 3", "Did you mean 'treename'?"]),
        ("d:\n  treename: Events\n", ["no key 'files'"]),
        ("d:\n  files:\n    - {replica: [a.root]}\n", ["file 1", "Did you mean 'replicas'?"]),
        ("d:\n  files:\n    - {replicas: []}\n", ["at least one path"]),
        ("d:\n  files:\n    - {replicas: [a.root:T, b.root]}\n", ["treename: T"]),
        ("d:\n  files:\n    - {replicas: ['*.root', b.root]}\n", ["glob", "replicas"]),
        ("d:\n  files:\n    - [a.root, b.root]\n", ["replicas: [first, second]"]),
        ("d:\n  files:\n    - 5\n", ["file 1", "a number (5)"]),
        ("d:\n  files: {a.root: {object_pth: Events}}\n", ["Did you mean 'object_path'?"]),
        ("d:\n  files: {a.parquet: {format: parquet}}\n", ["ROOT files"]),
        ("d:\n  files: []\n", ["empty list"]),
        ("d:\n  files: 3\n", ["a number (3)"]),
        ("d: a.root\n", ["must be a list of files", "'d'"]),
        ("treenam: Events\nd: [a.root]\n", ["line 1", "Did you mean 'treename'?"]),
        ("d:\n  files: [a.root]\n  metadata: [1]\n", ["metadata", "a list"]),
        ("d:\n  files: [a.root]\n  treename: 7\n", ["treename", "a number (7)"]),
        ("2018: [a.root]\n", ["2018", "quotes"]),
        ("- a.root\n", ["must map the names of datasets", "a list"]),
        ("", ["must map the names of datasets", "empty"]),
        ("treename: Events\n", ["names no dataset"]),
    ],
)
def test_mistakes_in_a_fileset(folder, text, expected):
    message = error_of(write(folder, text))
    for part in ["fileset.yaml", *expected]:
        assert part in message
