"""Remote files, here in fsspec's memory: how many requests a run makes, and when."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import fsspec
import numpy as np
import pytest

import af_kit as af
from af_kit.data.transport.source import _Remote
from af_kit.errors import ReadError
from af_kit.run import read_ahead
from af_kit.run.read_ahead import likely_branches

DEADLINE_S = 60


class Requests:
    """The requests for the content of files, as (first, last) byte of each range."""

    def __init__(self) -> None:
        self.all: list[list[tuple[int, int]]] = []
        self.fail = 0
        self.changed = threading.Condition()

    def add(self, ranges: Any) -> None:
        with self.changed:
            self.all.append(list(ranges))
            self.changed.notify_all()
            if self.fail:
                self.fail -= 1
                raise ReadError("the server hung up", transient=True)

    def wait_for(self, number: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: len(self.all) >= number, DEADLINE_S)


@functools.cache
def server() -> Requests:
    """The requests of the present test; functions that `process` calls may not change what they close over."""
    return Requests()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    """Counts from the moment that the plan is made."""
    server.cache_clear()
    requests = server()
    read = _Remote.read

    def counted(self: _Remote, ranges: Any) -> Any:
        requests.add(ranges)
        return read(self, ranges)

    monkeypatch.setattr(_Remote, "read", counted)
    monkeypatch.setattr("af_kit.run.engines.threads._cores", lambda: 1)
    return requests


@pytest.fixture
def chunks(files: list[Path]) -> Iterator[list[Any]]:
    """Six chunks of 1000 entries of one remote file."""
    memory = fsspec.filesystem("memory")
    memory.pipe("/store/a.root", files[0].read_bytes())
    yield af.plan({"D": {"files": {"memory://store/a.root": "Events"}}}, chunk_entries=1000)
    memory.rm("/store", recursive=True)


def momenta(events: Any) -> dict[str, Any]:
    return {"n": len(events), "pt": float(ak.sum(events.Muon.pt)), "events": np.asarray(events["event"])}


def test_each_chunk_needs_one_request(chunks, requests, files):
    result = af.process(momenta, chunks, progress=False)
    assert len(requests.all) == len(chunks) == 6
    assert result["n"] == 6000
    local = af.process(momenta, str(files[0]), chunk_entries=1000, progress=False)
    assert result["pt"] == local["pt"]
    np.testing.assert_array_equal(result["events"], local["events"])


def test_what_the_code_does_not_mention_is_learned_from_the_first_chunk(chunks, requests):
    hidden = ("tp_nouM", "ate_nouM", "ihp_nouM")
    result = af.process(lambda events: {"sums": [float(ak.sum(events[name[::-1]])) for name in hidden]}, chunks)
    assert result.report.complete
    assert len(requests.all) == 4 + 5  # the counter, and each of them


def test_a_large_guess_is_not_fetched(chunks, requests, monkeypatch):
    monkeypatch.setattr(read_ahead, "_MOST_GUESSED", 0)
    assert af.process(momenta, chunks)["n"] == 6000
    assert len(requests.all) == 3 + 5  # the counter, momenta, event numbers


def test_a_branch_that_turns_up_later_is_read_then(chunks, requests):
    def function(events):
        total = float(ak.sum(events.Muon.pt))
        if events.metadata["entry_start"] >= 3000:
            total += float(np.sum(events["thgieWneg"[::-1]]))
        return {"total": [total]}

    result = af.process(function, chunks)
    expected = [function(af.read(chunk))["total"][0] for chunk in chunks]
    assert result["total"] == expected
    requests.all.clear()
    af.process(function, chunks)
    assert len(requests.all) == 6 + 2  # for the first chunk that uses it, and for the one that was on its way then


def awaiting(events: Any) -> dict[str, Any]:
    """Wait for the request of the next chunk before this one ends; count those that are ahead."""
    number = events.metadata["entry_start"] // 1000
    total = float(ak.sum(events.Muon.pt))
    assert server().wait_for(min(number + 2, 6))
    return {"total": total, "ahead": [len(server().all) - number - 1]}


def test_the_next_chunk_is_fetched_while_one_is_processed(chunks, requests):
    result = af.process(awaiting, chunks)
    assert result.report.complete
    assert len(requests.all) == 6
    assert result["ahead"] == [1, 1, 1, 1, 1, 0]  # and no more than one


def failing_ahead(events: Any) -> dict[str, Any]:
    if events.metadata["entry_start"] == 1000:
        server().fail = 1
    return {"total": float(ak.sum(events.Muon.pt)), "seen": [server().wait_for(events.metadata["entry_start"] // 1000)]}


def test_a_failed_request_ahead_is_tried_again(chunks, requests):
    requests.fail = 0
    result = af.process(failing_ahead, chunks)
    assert result.report.complete
    assert result["total"] == af.process(momenta, chunks)["pt"]


def test_local_files_are_not_read_ahead(files, monkeypatch):
    def never(*_: Any) -> None:
        raise AssertionError("read ahead")

    monkeypatch.setattr(read_ahead.ReadAhead, "_start", never)
    assert af.process(momenta, str(files[0]), chunk_entries=1000)["n"] == 6000


# ------------------------------------------------------------------------------------------------ branches in the code


def leading(muons: Any) -> Any:
    return muons.pt[:, :1]


def test_branches_that_the_code_mentions(files):
    (layout,) = {id(chunk.layout): chunk.layout for chunk in af.plan(str(files[0]))}.values()
    weight = "genWeight"

    def function(events):
        return {"x": leading(events.Muon), "w": events[weight], "eta": events["Muon_eta"]}

    assert likely_branches(function, [layout]) == {"Muon_pt", "Muon_eta", "genWeight"}
    assert likely_branches(lambda events: {"run": events.run}, [layout]) == {"run"}
