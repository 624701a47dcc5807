"""The bookkeeping of a run: numbers that close, files that are named, text, HTML and JSON."""

from __future__ import annotations

import json
import pickle
import time
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_tools import write_events

from af_kit.data.reading.planned_file import PlannedFile
from af_kit.errors import IncompleteError, MergeError
from af_kit.run.bookkeeping import Bookkeeping, Failure, Partial, Segment, combine, covered
from af_kit.run.process import process
from af_kit.run.report import make_report


def failure(chunk: int = 3, kind: str = "io", entries: int | None = 50, **changes: Any) -> Failure:
    about = {
        "dataset": "signal",
        "file": "a.root",
        "entry_start": None if entries is None else 100,
        "entry_stop": None if entries is None else 100 + entries,
        "reason": "it is truncated",
        **changes,
    }
    return Failure(chunk, kind=kind, **about)


def report_of(*failures: Failure, processed: int = 950, planned: int = 1000, lost: tuple[int, ...] = ()) -> Any:
    bookkeeping = Bookkeeping(entries=Counter(signal=processed), bytes_read=2_500_000, cpu_s=1.5, retries=3)
    bookkeeping.failures += failures
    bookkeeping.branches |= {"Muon_pt", "nMuon"}
    bookkeeping.fallbacks["Jet_<b>"] = "uproot"
    bookkeeping.replicas["root://other//a.root"] = 2
    bookkeeping.workers["w<1>"] = (processed, 2.0)
    notes = ("Muon_pt is double in 1 file(s)",)
    return make_report({"signal": planned}, 20, 4, bookkeeping, lost=lost, wall_s=0.5, notes=notes)


# ---------------------------------------------------------------- check


def test_a_complete_report_is_returned():
    report = report_of(processed=1000)
    assert report.check() is report
    assert report.complete
    assert report.entries_per_s == 2000
    assert report.summary() == "All 1,000 entries were processed."


def test_failed_entries_are_listed():
    report = report_of(failure())
    assert not report.complete
    with pytest.raises(IncompleteError) as caught:
        report.check()
    assert "50 of 1,000 entries were not processed" in str(caught.value)
    assert "signal: a.root entries 100 to 150: it is truncated" in str(caught.value)
    assert "result.retry() runs only these" in str(caught.value)


def test_many_failures_are_counted_not_listed():
    failures = [failure(i, entries=10, entry_start=10 * i, entry_stop=10 * i + 10) for i in range(5000)]
    report = report_of(*failures, processed=0, planned=50_000)
    for text in (report.summary(), str(report), report._repr_html_()):
        assert "and 4995 more in report.failures" in text
        assert len(text) < 3000
    assert len(report.failures) == 5000


@pytest.mark.parametrize(
    "report",
    [
        report_of(processed=999),
        report_of(processed=1001),
        report_of(failure(), failure(4), processed=950),
        report_of(processed=1000, lost=(7,)),
    ],
    ids=["missing", "doubled", "failed and processed", "lost"],
)
def test_entries_that_do_not_add_up_are_a_bug_of_af_kit(report):
    assert not report.complete
    with pytest.raises(IncompleteError, match=r"do not add up.*do not use the result"):
        report.check()


def test_a_file_of_unknown_size_is_never_complete():
    report = report_of(failure(entries=None), processed=1000)
    assert report.entries == {"planned": 1000, "processed": 1000, "failed": 0}
    assert report.files == {"planned": 4, "failed": 1}
    assert not report.complete
    with pytest.raises(IncompleteError, match=r"^1 file could not be opened[^$]*a.root \(entries unknown\)"):
        report.check()


def test_a_file_that_fails_twice_is_one_file():
    report = report_of(
        failure(3), failure(4, entry_start=500, entry_stop=510), failure(5, file="b.root"), processed=890
    )
    assert report.files == {"planned": 4, "failed": 2}
    assert report.datasets == {"signal": {"planned": 1000, "processed": 890, "failed": 110}}


# ---------------------------------------------------------------- text, HTML, JSON


def test_text():
    text = str(report_of(failure()))
    for words in (
        "INCOMPLETE, 50 of 1,000 entries were not processed",
        "1,000 planned / 950 processed / 50 failed",
        "4 planned / 1 failed; 20 chunks",
        "2.5 MB, 2 branches, 3 retries",
        "0.50 s wall, 1.50 s CPU in tasks: 1,900 entries/s",
        "w<1> 950",
        "root://other//a.root (2 times)",
        "Jet_<b> (uproot)",
        "Muon_pt is double in 1 file(s)",
    ):
        assert words in text
    assert repr(report_of(failure())) == "<Report: 950 of 1,000 entries processed, INCOMPLETE>"
    assert repr(report_of(processed=1000)) == "<Report: 1,000 of 1,000 entries processed, complete>"


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_is_escaped():
    report = report_of(failure(file="<script>alert(1)</script>.root", reason="a & b < c"))
    page = Tags(report._repr_html_())
    assert "script" not in page.tags
    for words in ("<script>alert(1)</script>.root", "a & b < c", "Jet_<b> (uproot)", "w<1> 950", "50 of 1,000 entries"):
        assert words in page.text


def test_json_and_back(tmp_path):
    report = report_of(failure(traceback="Traceback ..."), failure(4, entries=None, entry_start=None))
    text = report.to_json(tmp_path / "report.json")
    assert (tmp_path / "report.json").read_text() == text
    assert json.loads(text) == report.to_dict()
    found = json.loads(text)
    assert found["entries"] == {"planned": 1000, "processed": 950, "failed": 50}
    assert found["complete"] is False
    assert found["failures"][0]["traceback"] == "Traceback ..."
    assert found["failures"][1]["entry_start"] is None
    assert found["branches"] == ["Muon_pt", "nMuon"]


def test_a_report_can_be_pickled():
    report = report_of(failure())
    assert pickle.loads(pickle.dumps(report)) == report


# ---------------------------------------------------------------- of a run


def test_numbers_of_a_run(files):
    result = process(lambda events: {"n": int(np.sum(events.nMuon))}, [str(files[0]), str(files[1])], chunk_entries=250)
    report = result.report
    assert report.branches == ("nMuon",)
    assert 0 < report.bytes_read < 20_000  # of some 300 kB
    assert report.chunks == 25
    assert report.wall_s > 0
    assert report.cpu_s > 0
    assert report.fallbacks == {}
    assert all(worker["seconds"] >= 0 for worker in report.workers.values())


def test_it_does_not_grow_with_the_chunks(tmp_path):
    path = write_events(tmp_path / "a.root", 2000, 1, cluster=1000)
    sizes = [
        len(pickle.dumps(process(lambda events: {"n": len(events)}, str(path), chunk_entries=size).report))
        for size in (1000, 10)
    ]
    assert sizes[1] < sizes[0] + 200


def test_it_lists_fallbacks_and_replicas(tmp_path):
    import uproot

    with uproot.recreate(tmp_path / "text.root") as file:
        tree = file.mktree("Events", {"x": "float64", "name": "string"})
        tree.extend({"x": np.arange(5.0), "name": np.array(["a", "b", "c", "d", "e"])})
    result = process(
        lambda events: {"n": len(np.asarray(events.x)), "names": events.name.to_list()}, str(tmp_path / "text.root")
    )
    assert result["names"] == list("abcde")
    assert result.report.fallbacks == {"name": "uproot"}
    assert set(result.report.branches) == {"x", "name"}


# ---------------------------------------------------------------- the sums behind it


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["done", "failed", "split"]), min_size=1, max_size=30), st.randoms())
def test_partial_results_combine_in_any_order(fates, source):
    parts = []
    for number, fate in enumerate(fates):
        bookkeeping = Bookkeeping()
        segments = []
        if fate == "failed":
            bookkeeping.failures.append(failure(number, entry_start=10 * number, entry_stop=10 * number + 10))
        else:
            bookkeeping.entries["signal"] += 10
            segments.append(Segment(number, number + 1, {"rows": [number]}))
        parts.append(Partial(segments, bookkeeping))
    source.shuffle(parts)
    while len(parts) > 1:
        size = source.randint(1, len(parts))
        parts = [combine(parts[:size]), *parts[size:]]
        source.shuffle(parts)
    whole = combine(parts)
    done = [number for number, fate in enumerate(fates) if fate != "failed"]
    assert [row for segment in whole.segments for row in segment.value["rows"]] == done
    assert covered(whole, len(fates)) == set(done)
    assert whole.bookkeeping.entries.total() == 10 * len(done)
    assert sorted(f.chunk for f in whole.bookkeeping.failures) == [
        n for n, fate in enumerate(fates) if fate == "failed"
    ]
    holes = sum(a + 1 != b for a, b in pairwise(done))
    assert len(whole.segments) == (holes + 1 if done else 0)


def test_a_chunk_that_is_merged_twice_is_found():
    doubled = Partial([Segment(0, 3, {}), Segment(2, 4, {})])
    with pytest.raises(MergeError, match="merged twice: do not use this result"):
        covered(doubled, 4)
    with pytest.raises(MergeError, match="do not use this result"):
        covered(Partial([Segment(0, 5, {})]), 4)


def test_every_failure_says_where():
    assert failure().where == "signal: a.root entries 100 to 150"
    assert failure(entries=None).where == "signal: a.root (entries unknown)"
    assert failure(entries=None).entries == 0
    assert Path(failure().file).name == "a.root"


# ---------------------------------------------------------------- times


def slow(events: Any) -> dict[str, int]:
    time.sleep(0.2)
    return {"n": int(np.sum(events["event"] >= 0))}


def test_the_report_says_what_the_time_was_spent_on(files, monkeypatch):
    read = PlannedFile._read

    def late(self: PlannedFile, ranges: Any) -> Any:
        time.sleep(0.1)
        return read(self, ranges)

    monkeypatch.setattr(PlannedFile, "_read", late)
    report = process(slow, str(files[0]), chunk_entries=1000, progress=False).report
    times = report.times
    assert times["function"] == pytest.approx(6 * 0.2, rel=0.9)
    assert times["function"] >= 6 * 0.2
    assert times["waiting"] >= 6 * 0.1
    assert times["decoding"] < times["waiting"]  # which is not counted twice
    assert sum(times.values()) == pytest.approx(2 * report.wall_s, rel=0.01)  # two threads
    assert "% in the function" in str(report)
    assert report.to_dict()["times"] == times
