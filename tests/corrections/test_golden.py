"""Golden JSON: masks against a loop over the ranges, what was not processed, and data and simulation kept apart."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from cms_files import cms_file

from af_kit.corrections.golden import GoldenJSON, certified
from af_kit.errors import InputError

RANGES = {"315257": [[1, 88], [91, 92]], "315259": [[10, 172]]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "golden.json"
    path.write_text(json.dumps(RANGES))
    return path


def test_both_ends_of_a_range_are_good(path: Path) -> None:
    run = np.array([315257] * 6 + [315259] * 4 + [315258, 5, 400000], dtype=np.uint32)
    section = np.array([1, 88, 89, 90, 91, 93, 9, 10, 172, 173, 20, 20, 20], dtype=np.uint32)
    good = [True, True, False, False, True, False, False, True, True, False, False, False, False]
    assert GoldenJSON.load(path).mask(run, section).tolist() == good


def test_the_real_file_of_2018_against_a_loop() -> None:
    path = cms_file("Cert_314472-325175_13TeV_Collisions18_JSON.txt")
    content = {int(run): ranges for run, ranges in json.loads(path.read_text()).items()}
    draw = np.random.default_rng(1)
    run = draw.choice([*content, 315000, 325999], 3000)
    section = draw.integers(0, 1500, 3000)
    expected = [
        any(low <= s <= high for low, high in content.get(int(r), [])) for r, s in zip(run, section, strict=True)
    ]
    assert 0.2 < np.mean(expected) < 0.8
    assert GoldenJSON.load(path).mask(run, section).tolist() == expected


@pytest.mark.parametrize(
    "name",
    [
        "Cert_314472-325175_13TeV_Collisions18_JSON.txt",
        "run2/lumi/Cert_271036-284044_13TeV_Collisions16.txt",
        "run2/lumi/Cert_294927-306462_13TeV_Collisions17.txt",
    ],
)
def test_the_real_files_come_back_as_they_were(name: str, tmp_path: Path) -> None:
    content = json.loads(cms_file(name).read_text())
    golden = GoldenJSON.load(cms_file(name))
    assert golden.to_dict() == content
    golden.write(tmp_path / "again.json")
    assert GoldenJSON.load(tmp_path / "again.json") == golden
    assert len(golden) == sum(last - first + 1 for ranges in content.values() for first, last in ranges)


def test_what_was_not_processed(path: Path) -> None:
    golden = GoldenJSON.load(path)
    run = np.array([315257] * 90 + [315259, 315259, 999999])
    section = np.array([*range(3, 93), 10, 11, 1])  # the last is no good section
    left = golden.remainder(GoldenJSON.from_sections(run, section))
    assert left.to_dict() == {"315257": [[1, 2]], "315259": [[12, 172]]}
    assert len(golden.remainder(golden)) == 0
    assert golden.remainder(GoldenJSON.from_sections([], [])) == golden


def test_the_sections_of_chunks_are_added() -> None:
    one = GoldenJSON.from_sections([5, 5, 5, 6], [1, 2, 2, 1])
    other = GoldenJSON.from_sections([6, 5], [2, 7])
    assert (one + other).to_dict() == {"5": [[1, 2], [7, 7]], "6": [[1, 2]]}
    assert one + other == other + one
    assert repr(one + other) == "<GoldenJSON: 5 luminosity sections of 2 runs>"


def test_process_merges_them() -> None:
    from af_kit.run.accumulate import merge

    parts = [{"lumis": GoldenJSON.from_sections([5], [section])} for section in (1, 2, 4)]
    assert merge(parts)["lumis"].to_dict() == {"5": [[1, 2], [4, 4]]}


def test_overlapping_ranges_are_united() -> None:
    golden = GoldenJSON.from_ranges({"7": [[5, 9], [1, 20], [21, 22]], "6": [[3, 3]]})
    assert golden.to_dict() == {"6": [[3, 3]], "7": [[1, 22]]}


def test_it_can_be_sent_to_workers(path: Path) -> None:
    golden = GoldenJSON.load(path)
    assert pickle.loads(pickle.dumps(golden)) == golden


def test_simulation_is_not_masked_and_a_mask_on_it_is_refused(path: Path) -> None:
    golden = GoldenJSON.load(path)
    run, section = np.ones(3, dtype=np.uint32), np.arange(1, 4, dtype=np.uint32)
    assert certified(golden, run, section, is_simulation=True).tolist() == [True] * 3
    assert certified(None, run, section, is_simulation=True).tolist() == [True] * 3
    with pytest.raises(InputError, match="3 of 3 events are of run 1: they are simulated"):
        certified(golden, run, section, is_simulation=False)


def test_data_are_masked_and_need_a_golden_json(path: Path) -> None:
    run, section = np.array([315257, 315257]), np.array([88, 89])
    assert certified(GoldenJSON.load(path), run, section, is_simulation=False).tolist() == [True, False]
    with pytest.raises(InputError, match="Data need a golden JSON"):
        certified(None, run, section, is_simulation=False)


@pytest.mark.parametrize(
    "content",
    [
        "[1, 2]",
        '{"5": [[1]]}',
        '{"5": [[1, 2, 3]]}',
        '{"5": [[3, 2]]}',
        '{"5": [[0, 2]]}',
        '{"5": [[1.5, 2]]}',
        '{"a": [[1, 2]]}',
        '{"5": 3}',
        "nothing",
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"bad\.json is not a golden JSON"):
        GoldenJSON.load(path)


def test_numbers_that_are_no_integers_are_refused(path: Path) -> None:
    with pytest.raises(InputError, match="run must be integers, and is of type float64"):
        GoldenJSON.load(path).mask(np.array([315257.0]), np.array([1]))
    with pytest.raises(InputError, match="2 runs and 1 luminosity sections"):
        GoldenJSON.load(path).mask(np.array([315257, 315257]), np.array([1]))
