"""load_fileset: every shape that is accepted, and what is said about those that are not."""

import json
import pickle
from pathlib import Path

import dask
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from af_kit.data.fileset.load import Dataset, File, Fileset, load_fileset, shipped_filesets
from af_kit.errors import FilesetError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory of its own, with files that only need to be there."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.root", "b.root", "c.root", "more/d.root", "more/deep/e.root"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def write(folder, text, name="fileset.yaml"):
    path = folder / name
    path.write_text(text)
    return path


def paths(fileset, dataset=None):
    name = dataset or next(iter(fileset))
    return [file.path for file in fileset[name].files]


def refusal(source, **options):
    with pytest.raises(FilesetError) as caught:
        load_fileset(source, **options)
    return str(caught.value)


# Shapes --------------------------------------------------------------------------------------------------------------


def test_coffea_fileset_as_it_is(folder):
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
    file = {"object_path": "Events", "num_entries": 10, "uuid": "0", "steps": [[0, 5], [5, 10]]}
    assert load_fileset({"d": {"files": {"a.root": file}, "form": None, "metadata": None}})["d"].metadata == {}
    message = refusal({"d": {"files": {"a.root": {**file, "steps": [[0, 5]]}}}})
    assert "'steps'" in message
    assert "whole files" in message


def test_coffea_own_objects(folder):
    filespec = pytest.importorskip("coffea.dataset_tools.filespec")
    group = filespec.DataGroupSpec({"d": {"files": {"a.root": "Events"}, "metadata": {"year": 2018}}})
    fileset = load_fileset(group)
    assert paths(fileset) == [str(folder / "a.root")]
    assert fileset["d"].metadata == {"year": 2018}


@pytest.mark.parametrize("files", ["a.root more/d.root", "a.root\n   more/d.root\n", ["a.root", "more/d.root"]])
def test_facility_form(folder, files):
    fileset = load_fileset({"DsPhiPi": {"rootpath": f"{folder}/", "treename": "Tree3Mu/ntuple", "files": files}})
    assert fileset["DsPhiPi"].files == (
        File((f"{folder}/a.root",), "Tree3Mu/ntuple"),
        File((f"{folder}/more/d.root",), "Tree3Mu/ntuple"),
    )


def test_facility_form_below_a_url():
    fileset = load_fileset({"d": {"rootpath": "root://host//store/user", "files": "x.root y.root"}})
    assert paths(fileset) == ["root://host//store/user/x.root", "root://host//store/user/y.root"]


def test_rootpath_above_a_complete_path():
    assert "complete" in refusal({"d": {"rootpath": "/data", "files": "/other/x.root"}})


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


@pytest.mark.parametrize("suffix", ["yaml", "yml", "json"])
def test_relative_paths_start_from_the_fileset_file(folder, suffix):
    path = folder / "more" / f"set.{suffix}"
    path.write_text(json.dumps({"d": {"files": ["d.root", "../a.root"]}}))
    assert paths(load_fileset(path)) == [str(folder / "more/d.root"), str(folder / "a.root")]


def test_relative_paths_without_a_file_start_from_the_working_directory(folder):
    assert paths(load_fileset({"d": ["a.root"]})) == [str(folder / "a.root")]


def test_variables_and_home(folder, monkeypatch):
    monkeypatch.setenv("MY_DATA", str(folder))
    monkeypatch.setenv("HOME", str(folder))
    found = load_fileset({"d": ["$MY_DATA/a.root", "~/b.root", "${MY_DATA}/c.root"]})
    assert paths(found) == [str(folder / name) for name in ("a.root", "b.root", "c.root")]
    assert "MY_DATA" in refusal({"d": ["$MY_DATE/a.root"]})


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
    assert "two datasets called 'files'" in refusal(["a.root", "c.root", write(folder, "files: [b.root]")])


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
    assert "names the tree 'x'" in refusal("a.root:x", treename="Runs")


def test_fileset_of_a_fileset(folder):
    fileset = load_fileset({"d": ["a.root"], "e": ["b.root"]})
    assert load_fileset(fileset) is fileset
    assert list(load_fileset(fileset, datasets="e")) == ["e"]


# What ships ----------------------------------------------------------------------------------------------------------


def test_shipped_dimuon(folder):
    assert "dimuon.yaml" in shipped_filesets()
    (dataset,) = load_fileset("dimuon.yaml").values()
    base = "root://eospublic.cern.ch//eos/root-eos/benchmark/CMSOpenDataDimuon/Run2012BC_DoubleMuParked_Muons"
    assert [file.path for file in dataset.files] == [f"{base}_{number}.root" for number in range(1, 21)]
    assert {file.treename for file in dataset.files} == {"Events"}
    assert dataset.metadata["isMC"] is False
    assert dataset.metadata["sqrt_s_TeV"] == 8


def test_own_fileset_wins_over_the_shipped_one(folder):
    write(folder, "mine: [a.root]", "dimuon.yaml")
    assert list(load_fileset("dimuon.yaml")) == ["mine"]


def test_misspelt_fileset_file(folder):
    assert "Did you mean 'dimuon.yaml'?" in refusal("dimun.yaml")
    assert "Did you mean 'dimuon.yaml'?" in refusal("dimuon")


# Globs ---------------------------------------------------------------------------------------------------------------


def test_local_globs_are_sorted_and_hold_files_only(folder):
    (folder / "folder.root").mkdir()
    assert paths(load_fileset("*.root")) == [str(folder / name) for name in ("a.root", "b.root", "c.root")]
    assert list(load_fileset("*.root")) == ["files"]
    assert paths(load_fileset({"d": ["more/**/*.root"]})) == [
        str(folder / name) for name in ("more/d.root", "more/deep/e.root")
    ]


def test_a_name_with_brackets_is_a_name(folder):
    (folder / "x[1].root").touch()
    assert paths(load_fileset({"d": ["x[1].root"]})) == [str(folder / "x[1].root")]


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("z*.root", "contains 4 other"),
        ("more/deep/z*.root", "more/deep' exists and contains 1 other"),
        ("none/at/all/*.root", "none/at/all'; its closest existing parent"),
    ],
)
def test_empty_glob(folder, pattern, hint):
    message = refusal({"d": ["a.root", pattern]})
    assert "matches no file" in message
    assert hint in message
    assert "'d'" in message


@pytest.fixture
def server():
    """A file system with names instead of paths, as every remote one; it is listed through fsspec too."""
    files = MemoryFileSystem()
    for name in ("/store/b.root", "/store/a.root", "/store/sub/c.root", "/store/note.txt"):
        files.pipe_file(name, b"")
    yield files
    files.store.clear()


def test_remote_globs(server):
    fileset = load_fileset("memory://store/*.root")
    assert paths(fileset) == ["memory:///store/a.root", "memory:///store/b.root"]
    assert "matches no file" in refusal("memory://store/z*.root")
    assert "matches no file" in refusal("memory://elsewhere/*.root")


def test_no_globs_on_https():
    assert "one by one" in refusal("https://host/folder/*.root")


def test_a_server_that_cannot_be_listed():
    message = refusal("nosuchprotocol://host/folder/*.root")
    assert "cannot list" in message
    assert "nosuchprotocol" in message


def test_ipv6_host_is_no_glob():
    assert paths(load_fileset("root://[::1]:1094//x.root")) == ["root://[::1]:1094//x.root"]


# The site ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def site():
    def configure(**values):
        return dask.config.set({f"af_kit.data.{key}": value for key, value in values.items()})

    return configure


def test_logical_names_go_through_the_redirectors(site):
    with site(redirectors=["root://first/", "root://second"], rewrite=[]):
        (file,) = load_fileset("/store/data/x.root")["x"].files
    assert file.replicas == ("root://first//store/data/x.root", "root://second//store/data/x.root")


def test_rewritten_copies_come_first(site):
    rules = [{"match": "/store/", "replace": "/eos/site/store/"}, {"match": "root://far/", "replace": "root://near/"}]
    with site(redirectors=["root://r/"], rewrite=rules):
        fileset = load_fileset({"d": ["/store/x.root", "root://far//y.root", "/local/z.root"]})
    assert [file.replicas for file in fileset["d"].files] == [
        ("/eos/site/store/x.root", "root://r//store/x.root"),
        ("root://near//y.root", "root://far//y.root"),
        ("/local/z.root",),
    ]


def test_globs_of_logical_names(site, server, folder):
    (folder / "store").mkdir()
    (folder / "store/near.root").touch()
    server.pipe_file("/base//store/far.root", b"")
    with site(redirectors=["memory:///base/"], rewrite=[]):
        assert paths(load_fileset("/store/*.root")) == ["memory:///base//store/far.root"]
    with site(redirectors=["root://r"], rewrite=[{"match": "/store", "replace": f"{folder}/store"}]):
        (file,) = load_fileset("/store/*.root")["files"].files
    assert file.replicas == (f"{folder}/store/near.root", "root://r//store/near.root")


def test_logical_name_without_a_redirector(site):
    with site(redirectors=[], rewrite=[]):
        assert "af_kit.data.redirectors" in refusal("/store/x.root")
        assert "af_kit.data.redirectors" in refusal("/store/*.root")


@pytest.mark.parametrize("rule", [{"match": "/store/"}, "root://x", {"match": "/a", "replace": "/b", "more": 1}])
def test_wrong_rewrite_rule(site, rule):
    with site(redirectors=[], rewrite=[rule]):
        assert "{match: PREFIX, replace: PREFIX}" in refusal("/data/x.root")


def test_wrong_redirector(site):
    with site(redirectors=["xrootd.host"]):
        assert "'xrootd.host'" in refusal("/data/x.root")


# Selection -----------------------------------------------------------------------------------------------------------


def test_datasets_keep_the_order_of_the_fileset(folder):
    source = {"d": ["a.root"], "e": ["b.root"], "f": ["c.root"]}
    assert list(load_fileset(source, datasets=["f", "d"])) == ["d", "f"]
    assert list(load_fileset(source, datasets="e")) == ["e"]


def test_globs_of_others_are_not_looked_up(folder):
    assert list(load_fileset({"d": ["a.root"], "gone": ["gone/*.root"]}, datasets=["d"])) == ["d"]


def test_missing_dataset(folder):
    assert "Did you mean 'ZJets'?" in refusal({"ZJets": ["a.root"]}, datasets=["Zjets"])
    assert "names no dataset" in refusal({"ZJets": ["a.root"]}, datasets=[])
    with pytest.raises(KeyError, match="Did you mean 'a'"):
        load_fileset("a.root")["aa"]


# Files that occur twice ----------------------------------------------------------------------------------------------


def test_a_file_twice_in_a_dataset(folder):
    message = refusal({"d": ["a.root", "b.root", "*.root"]})
    assert "counted twice" in message
    assert message.count(f"{folder}/a.root") == 1
    assert f"{folder}/b.root" in message
    assert "c.root" not in message


def test_a_file_twice_under_other_names(folder):
    (folder / "link.root").symlink_to("a.root")
    assert "also as" in refusal({"d": ["a.root", "link.root"]})
    assert "counted twice" in refusal(["root://Host:1094//eos/x.root", "root://host//eos//x.root"])
    assert "counted twice" in refusal(
        {"d": ["root://one//x.root", {"replicas": ["root://two//x.root", "root://one//x.root"]}]}
    )


def test_a_file_in_two_datasets(folder):
    source = {"d": ["a.root", "b.root"], "e": ["b.root", "c.root"]}
    message = refusal(source)
    assert "'d' and 'e'" in message
    assert "datasets=" in message
    assert len(load_fileset(source, datasets="e")["e"].files) == 2


def test_two_trees_of_a_file_are_two_inputs(folder):
    assert len(load_fileset(["a.root:x", "a.root:y"])["files"].files) == 2


def test_the_query_of_a_url_tells_files_apart():
    assert len(load_fileset(["https://host/get?file=1", "https://host/get?file=2"])["files"].files) == 2


# Mistakes ------------------------------------------------------------------------------------------------------------


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
        ("d: [a.root]\nd: [b.root]\n", ["duplicate key 'd'", "lines 1 and 2"]),
        ("d:\n  files: [a.root]\n  files: [b.root]\n", ["duplicate key 'files'", "lines 2 and 3"]),
        ("d: [a.root\ne: 5", ["not valid YAML at line 2"]),
        ("d:\n\t- a.root\n", ["not valid YAML at line 2"]),
        ("d: [a.root]\n---\ne: [b.root]\n", ["not valid YAML at line 2"]),
    ],
)
def test_mistakes_in_yaml(folder, text, expected):
    message = refusal(write(folder, text))
    for part in ["fileset.yaml", *expected]:
        assert part in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [('{"d": ["a.root"], "d": ["b.root"]}', "duplicate key 'd'"), ('{"d": [}', "not valid JSON at line 1, column 8")],
)
def test_mistakes_in_json(folder, text, expected):
    assert expected in refusal(write(folder, text, "fileset.json"))


def test_merge_keys_of_yaml_may_be_overridden(folder):
    text = "d: &d\n  treename: T\n  files: [a.root]\ne:\n  <<: *d\n  files: [b.root]\n"
    fileset = load_fileset(write(folder, text))
    assert fileset["e"].files == (File((str(folder / "b.root"),), "T"),)


@pytest.mark.parametrize("source", [5, None, [], [3], b"a.root", "", [""]])
def test_sources_that_are_none(source):
    with pytest.raises(FilesetError):
        load_fileset(source)


def test_binary_fileset_file(folder):
    (folder / "x.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as text" in refusal("x.yaml")


def test_files_that_are_not_there_are_left_to_the_plan(folder):
    assert paths(load_fileset({"d": ["a.root", "gone.root"]})) == [str(folder / "a.root"), str(folder / "gone.root")]


# The value -----------------------------------------------------------------------------------------------------------


def test_repr(folder):
    text = repr(load_fileset({"ZJets": {"files": ["a.root", "b.root"], "metadata": {"year": 2018}}, "e": ["c.root"]}))
    assert text.splitlines() == [
        "Fileset: 2 datasets, 3 files",
        "  dataset  files  treename  metadata",
        "  ZJets        2  Events    year: 2018",
        "  e            1  Events",
    ]


def test_html(folder):
    html = load_fileset({"<b>": {"files": ["a.root"], "metadata": {"note": "<script>"}}})._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<script>" not in html
    assert f"{folder}/a.root" in html


def test_tokens_are_not_shown():
    fileset = load_fileset(["https://host/x.root?authz=SECRET1", "root://me:SECRET2@host//y.root?authz=SECRET1"])
    for text in (repr(fileset), fileset._repr_html_(), repr(fileset["files"].files), repr(fileset["files"])):
        assert "SECRET" not in text
        assert "SECRET" not in refusal(["https://host/x.root?authz=SECRET1"] * 2)
    assert "SECRET1" in fileset["files"].files[0].path


def test_pickle_and_equality(folder):
    fileset = load_fileset(write(folder, "d: {files: [a.root], metadata: {x: {y: [1]}}}"))
    again = pickle.loads(pickle.dumps(fileset))
    assert again == fileset
    assert type(again["d"].metadata["x"]) is dict
    assert hash(again["d"]) == hash(fileset["d"])


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
