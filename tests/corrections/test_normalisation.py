"""The sum of generator weights of all files: both names, several runs, and nothing left out in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import uproot
from cms_files import cms_file

import af_kit as af
from af_kit.corrections import normalisation
from af_kit.corrections.normalisation import luminosity_weight, sum_of_weights
from af_kit.errors import InputError, ReadError


@pytest.fixture
def write(tmp_path: Path):
    def file(name: str, **branches: list[float]) -> Path:
        path = tmp_path / name
        with uproot.recreate(path) as root:
            root.mktree("Events", {"genWeight": "float32"}).extend({"genWeight": np.ones(3, dtype=np.float32)})
            if branches:
                tree = root.mktree("Runs", dict.fromkeys(branches, "float64"))
                tree.extend({key: np.array(values) for key, values in branches.items()})
        return path

    return file


def test_all_files_and_all_their_runs_are_added(write) -> None:
    files = [write("a.root", genEventSumw=[10.0, 2.5]), write("b.root", genEventSumw_=[-1.0])]
    found = sum_of_weights(files)
    assert found.sumw == 11.5  # not the number of events left in the files
    assert found.files == tuple(map(str, files))


def test_a_dataset_of_a_fileset(write) -> None:
    fileset = af.load_fileset({"DY": {"files": [str(write("a.root", genEventSumw=[4.0]))]}})
    assert sum_of_weights(fileset["DY"]).sumw == 4.0


def test_the_next_replica_is_used(write, tmp_path: Path) -> None:
    good = write("a.root", genEventSumw=[4.0])
    file = af.load_fileset({"DY": [str(good)]})["DY"].files[0]
    both = type(file)(replicas=(str(tmp_path / "gone.root"), str(good)))
    assert sum_of_weights([both]).sumw == 4.0


def test_a_transient_error_is_tried_again(write, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read, calls = write("a.root", genEventSumw=[4.0]), normalisation._read, []

    def fails_once(path: str) -> float:
        calls.append(path)
        if len(calls) == 1:
            raise ReadError("the server does not answer")
        return read(path)

    monkeypatch.setattr(normalisation, "_read", fails_once)
    monkeypatch.setattr(normalisation, "_PAUSES_S", (0.0, 0.0, 0.0))
    assert sum_of_weights([path]).sumw == 4.0
    assert len(calls) == 2


def test_a_file_that_is_missing_or_lacks_the_sum_is_an_error(write, tmp_path: Path) -> None:
    good = write("a.root", genEventSumw=[4.0])
    with pytest.raises(ReadError, match=r"gone\.root does not exist"):
        sum_of_weights([good, tmp_path / "gone.root"])
    with pytest.raises(InputError, match=r"skim\.root has no tree 'Runs'"):
        sum_of_weights([good, write("skim.root")])
    with pytest.raises(InputError, match=r"data\.root has no genEventSumw: is this a file of data"):
        sum_of_weights([good, write("data.root", other=[1.0])])
    with pytest.raises(InputError, match="no files"):
        sum_of_weights([])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_sum_that_is_no_number_is_refused(write, bad: float) -> None:
    with pytest.raises(InputError, match=r"genEventSumw in .*bad\.root is (nan|inf)"):
        sum_of_weights([write("a.root", genEventSumw=[4.0]), write("bad.root", genEventSumw=[1.0, bad])])


def test_a_sum_of_other_files_than_the_processed_ones_is_refused(write) -> None:
    files = [write("a.root", genEventSumw=[4.0]), write("b.root", genEventSumw=[4.0])]
    found = sum_of_weights(files)
    found.check_files(map(str, reversed(files)))
    with pytest.raises(InputError, match=r"of 2 files, and 1 were processed \(only in one of the two: .*b\.root\)"):
        found.check_files([str(files[0])])
    with pytest.raises(InputError, match=r"of 1 files, and 2 were processed"):
        sum_of_weights(files[:1]).check_files(map(str, files))


def test_the_weight_of_an_event() -> None:
    # 47.17 pb and 41.53 / fb: 1.959 million events, of 10 million generated ones with weight 2
    assert luminosity_weight(xsec_pb=47.17, lumi_ifb=41.53, sumw=2e7) == pytest.approx(0.0979485, rel=1e-6)


@pytest.mark.parametrize("change", [{"xsec_pb": 0.0}, {"lumi_ifb": -1.0}, {"sumw": np.nan}, {"sumw": 0.0}])
def test_a_number_that_is_not_positive_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(change))} must be a positive number"):
        luminosity_weight(**{"xsec_pb": 1.0, "lumi_ifb": 1.0, "sumw": 1.0, **change})


def test_the_real_files_of_both_kinds() -> None:
    old = sum_of_weights([cms_file("nano_dy.root")]).sumw
    assert old == pytest.approx(1.51666e10, rel=1e-4)
    assert sum_of_weights([cms_file("nano_tree.root")]).sumw == 49919.0
    with pytest.raises(InputError, match=r"nano_dimuon\.root has no genEventSumw"):
        sum_of_weights([cms_file("nano_dimuon.root")])
