"""Paths, globs, logical names and the configuration of the site."""

import dask
import pytest
from fileset_tools import error_of, paths
from fsspec.implementations.memory import MemoryFileSystem

from af_kit.data.fileset.load import load_fileset


def test_variables_and_home(folder, monkeypatch):
    monkeypatch.setenv("MY_DATA", str(folder))
    monkeypatch.setenv("HOME", str(folder))
    found = load_fileset({"d": ["$MY_DATA/a.root", "~/b.root", "${MY_DATA}/c.root"]})
    assert paths(found) == [str(folder / name) for name in ("a.root", "b.root", "c.root")]
    assert "MY_DATA" in error_of({"d": ["$MY_DATE/a.root"]})


def test_local_globs_are_sorted_and_hold_files_only(folder):
    (folder / "folder.root").mkdir()
    assert paths(load_fileset("*.root")) == [str(folder / name) for name in ("a.root", "b.root", "c.root")]
    assert list(load_fileset("*.root")) == ["files"]
    assert paths(load_fileset({"d": ["more/**/*.root"]})) == [
        str(folder / name) for name in ("more/d.root", "more/deep/e.root")
    ]


def test_a_file_name_with_brackets_is_not_a_glob(folder):
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
    message = error_of({"d": ["a.root", pattern]})
    assert "matches no file" in message
    assert hint in message
    assert "'d'" in message


@pytest.fixture
def server():
    """A file system in memory, listed through fsspec like any remote one."""
    files = MemoryFileSystem()
    for name in ("/store/b.root", "/store/a.root", "/store/sub/c.root", "/store/note.txt"):
        files.pipe_file(name, b"")
    yield files
    files.store.clear()


def test_remote_globs(server):
    fileset = load_fileset("memory://store/*.root")
    assert paths(fileset) == ["memory:///store/a.root", "memory:///store/b.root"]
    assert "matches no file" in error_of("memory://store/z*.root")
    assert "matches no file" in error_of("memory://elsewhere/*.root")


def test_https_has_no_globs():
    assert "one by one" in error_of("https://host/folder/*.root")


def test_a_server_that_cannot_be_listed():
    message = error_of("nosuchprotocol://host/folder/*.root")
    assert "cannot list" in message
    assert "nosuchprotocol" in message


def test_an_ipv6_host_is_not_a_glob():
    assert paths(load_fileset("root://[::1]:1094//x.root")) == ["root://[::1]:1094//x.root"]


@pytest.fixture
def site():
    def configure(**values):
        return dask.config.set({f"af_kit.data.{key}": value for key, value in values.items()})

    return configure


def test_logical_names_are_resolved_by_the_redirectors(site):
    with site(redirectors=["root://first/", "root://second"], rewrite=[]):
        (file,) = load_fileset("/store/data/x.root")["x"].files
    assert file.replicas == ("root://first//store/data/x.root", "root://second//store/data/x.root")


def test_rewritten_replicas_come_first(site):
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
        assert "af_kit.data.redirectors" in error_of("/store/x.root")
        assert "af_kit.data.redirectors" in error_of("/store/*.root")


@pytest.mark.parametrize("rule", [{"match": "/store/"}, "root://x", {"match": "/a", "replace": "/b", "more": 1}])
def test_an_invalid_rewrite_rule(site, rule):
    with site(redirectors=[], rewrite=[rule]):
        assert "{match: PREFIX, replace: PREFIX}" in error_of("/data/x.root")


def test_an_invalid_redirector(site):
    with site(redirectors=["xrootd.host"]):
        assert "'xrootd.host'" in error_of("/data/x.root")
