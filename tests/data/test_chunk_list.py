"""The list of chunks that plan() returns: a list, which shows itself as a table."""

from __future__ import annotations

import copy
import pickle

import pytest
from bits import write_nano

import af_kit as af
from af_kit.data.chunk_list import Chunks


@pytest.fixture(scope="module")
def chunks(tmp_path_factory) -> Chunks:
    folder = tmp_path_factory.mktemp("files")
    files = [str(write_nano(folder / f"{seed}.root", 50)) for seed in (1, 2)]
    return af.plan({"<b>": {"files": files[:1]}, "other": {"files": files[1:]}}, chunk_entries=20)


def test_it_is_a_list(chunks):
    plain = list(chunks)
    assert type(plain) is list
    assert chunks == plain
    assert plain == chunks
    assert len(chunks) == 8
    assert chunks[0] is plain[0]
    assert chunks[-2:] == plain[-2:]
    assert type(chunks[1:]) is Chunks
    assert chunks.entries == 100
    for same in (pickle.loads(pickle.dumps(chunks)), copy.copy(chunks)):
        assert same == chunks
        assert same.notes == chunks.notes


def test_it_shows_itself(chunks):
    assert repr(chunks) == "<8 chunks of 2 files: 100 entries>"
    html = chunks._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>;" not in html
    assert "<td class='n'>50</td>" in html
    assert Chunks()._repr_html_()
    assert repr(Chunks(["x"])) == "['x']"  # such as the futures of client.scatter(chunks)


def test_a_chunk_shows_itself_without_tokens(chunks):
    import dataclasses

    chunk = dataclasses.replace(chunks[0], file="https://host/a.root?authz=SECRET", replicas=("https://x:SECRET@y/a",))
    assert repr(chunk).startswith("<Chunk 0:")
    assert "https://host/a.root" in repr(chunk)
    for text in (repr(chunk), chunk._repr_html_(), Chunks([chunk])._repr_html_()):
        assert "SECRET" not in text
