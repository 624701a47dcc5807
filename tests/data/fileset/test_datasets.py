"""`Fileset`: selection, duplicate files, how it is displayed."""

import pickle

import pytest
from fileset_tools import error_of, write

from af_kit.data.fileset.load import load_fileset


def test_datasets_keep_the_order_of_the_fileset(folder):
    source = {"d": ["a.root"], "e": ["b.root"], "f": ["c.root"]}
    assert list(load_fileset(source, datasets=["f", "d"])) == ["d", "f"]
    assert list(load_fileset(source, datasets="e")) == ["e"]


def test_missing_dataset(folder):
    assert "Did you mean 'ZJets'?" in error_of({"ZJets": ["a.root"]}, datasets=["Zjets"])
    assert "names no dataset" in error_of({"ZJets": ["a.root"]}, datasets=[])
    with pytest.raises(KeyError, match="Did you mean 'a'"):
        load_fileset("a.root")["aa"]


def test_a_file_twice_in_a_dataset(folder):
    message = error_of({"d": ["a.root", "b.root", "*.root"]})
    assert "counted twice" in message
    assert message.count(f"{folder}/a.root") == 1
    assert f"{folder}/b.root" in message
    assert "c.root" not in message


def test_a_file_twice_under_other_names(folder):
    (folder / "link.root").symlink_to("a.root")
    assert "also as" in error_of({"d": ["a.root", "link.root"]})
    assert "counted twice" in error_of(["root://Host:1094//eos/x.root", "root://host//eos//x.root"])
    assert "counted twice" in error_of(
        {"d": ["root://one//x.root", {"replicas": ["root://two//x.root", "root://one//x.root"]}]}
    )


def test_a_file_in_two_datasets(folder):
    source = {"d": ["a.root", "b.root"], "e": ["b.root", "c.root"]}
    message = error_of(source)
    assert "'d' and 'e'" in message
    assert "datasets=" in message
    assert len(load_fileset(source, datasets="e")["e"].files) == 2


def test_two_trees_of_a_file_are_two_inputs(folder):
    assert len(load_fileset(["a.root:x", "a.root:y"])["files"].files) == 2


def test_urls_with_different_queries_are_different_files():
    assert len(load_fileset(["https://host/get?file=1", "https://host/get?file=2"])["files"].files) == 2


def test_text(folder):
    fileset = load_fileset({"ZJets": {"files": ["a.root", "b.root"], "metadata": {"year": 2018}}, "e": ["c.root"]})
    assert repr(fileset) == "<Fileset: 2 datasets, 3 files>"
    assert repr(fileset["ZJets"]) == "<Dataset 'ZJets': 2 files>"
    assert str(fileset).splitlines() == [
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


def test_tokens_are_not_displayed():
    fileset = load_fileset(["https://host/x.root?authz=SECRET1", "root://me:SECRET2@host//y.root?authz=SECRET1"])
    shown = [str(fileset), fileset._repr_html_(), repr(fileset["files"].files), fileset["files"]._repr_html_()]
    for text in (*shown, repr(fileset), repr(fileset["files"])):
        assert "SECRET" not in text
        assert "SECRET" not in error_of(["https://host/x.root?authz=SECRET1"] * 2)
    assert "SECRET1" in fileset["files"].files[0].path


def test_pickle_and_equality(folder):
    fileset = load_fileset(write(folder, "d: {files: [a.root], metadata: {x: {y: [1]}}}"))
    again = pickle.loads(pickle.dumps(fileset))
    assert again == fileset
    assert type(again["d"].metadata["x"]) is dict
    assert hash(again["d"]) == hash(fileset["d"])


def test_a_hard_link_is_the_same_file(folder):
    (folder / "hard.root").hardlink_to(folder / "a.root")
    assert "hard.root (also as " in error_of({"d": ["a.root", "hard.root"]})
    assert "'d' and 'e'" in error_of({"d": ["a.root"], "e": ["hard.root"]})


@pytest.mark.parametrize("other", ["Events;1", "Events;2", "/Events", "Events/"])
def test_cycles_are_one_tree(folder, other):
    assert "counted twice" in error_of(["a.root:Events", f"a.root:{other}"])
    assert "counted twice" in error_of({"d": ["a.root:Events;1"], "e": [f"a.root:{other}"]})
    assert len(load_fileset([f"a.root:{other}", "a.root:Runs;1", "a.root:x/Events"])["files"].files) == 3
