"""Run with: python -m pytest"""

import analysis
import pytest

import af_kit as af


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two small simulated files."""
    return af.write_files("dimuon", tmp_path_factory.mktemp("samples"), 2000, 2)


def test_every_event_is_counted(files):
    result = af.process(analysis.analyse, files, progress=False)
    result.report.check()
    assert result["events"] == 2000
    assert result["candidates"].num_rows >= result["mass"].sum() > 0


def test_the_result_does_not_depend_on_the_chunks(files):
    whole = af.process(analysis.analyse, files, progress=False)
    in_parts = af.process(analysis.analyse, files, chunk_entries=300, progress=False)
    assert in_parts["mass"] == whole["mass"]


def test_muons_below_the_threshold_are_not_used(files):
    (chunk, *_) = af.plan(files)
    events = af.read(chunk)
    assert len(analysis.select(events, pt_min=20)) < len(analysis.select(events, pt_min=5))
