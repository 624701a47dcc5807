"""``af-kit simulate``."""

from __future__ import annotations

from pathlib import Path

import pytest
import uproot

import af_kit as af
from af_kit.cli import main


def test_it_writes_files_and_their_fileset(sample):
    assert sorted(path.name for path in sample.iterdir()) == ["dimuon_0.root", "dimuon_1.root", "fileset.yaml"]
    entries = [uproot.open(sample / f"dimuon_{i}.root")["Events"].num_entries for i in (0, 1)]
    assert entries == [2501, 2500]
    (dataset,) = af.load_fileset(sample / "fileset.yaml").values()
    assert [Path(file.path).name for file in dataset.files] == ["dimuon_0.root", "dimuon_1.root"]
    assert dataset.metadata["isMC"] is True


def test_its_options(tmp_path):
    options = ["--events", "1e3", "--compression", "ZSTD-5", "--cluster-entries", "100", "--seed", "3"]
    assert main(["simulate", "dimuon", "--out", str(tmp_path), *options]) == 0
    tree = uproot.open(tmp_path / "dimuon_0.root")["Events"]
    assert tree.num_entries == 1000
    assert tree["Muon_pt"].num_baskets == 10
    assert uproot.open(tmp_path / "dimuon_0.root").file.compression == uproot.ZSTD(5)


@pytest.mark.parametrize("options", [["--compression", "ZIP-1"], ["--kind", "ttree", "--files", "1", "--seed", "1"]])
def test_unusable_options_or_folders_are_an_error_message(tmp_path, options, capsys):
    (tmp_path / "file").write_text("")
    out = tmp_path / ("file" if "--kind" in options else "new")
    assert main(["simulate", "dimuon", "--events", "10", "--out", str(out), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("af-kit: ")
    assert "Traceback" not in error


def test_one_process_of_nanoaod_has_calibrations_and_metadata(tmp_path):
    options = ["--kind", "dy", "--year", "2017", "--events", "50", "--format", "rntuple"]
    assert main(["simulate", "nanoaod", "--out", str(tmp_path), *options]) == 0
    (dataset,) = af.load_fileset(tmp_path / "fileset.yaml").values()
    assert dataset.name == "dy_m50"
    assert dataset.metadata["xsec_pb"] == 5765.4
    assert dataset.metadata["year"] == 2017
    assert (tmp_path / "calibrations" / "RoccoR2017.txt.gz").exists()


def test_the_kinds_are_those_of_the_package():
    from af_kit.cli.simulate import PROCESSES
    from af_kit.simulate.nano.sample import KINDS

    assert set(PROCESSES) == set(KINDS)


def test_a_whole_analysis(tmp_path, capsys):
    arguments = ["simulate", "hmumu", "--year", "2016", "--events", "0", "--out", str(tmp_path)]
    assert main([*arguments, "--compression", "LZ4-1"]) == 0
    assert len(af.load_fileset(tmp_path / "fileset.yaml")) == 9
    assert main([*arguments, "--kind", "dy"]) == 2
    assert "--kind does not apply to hmumu" in capsys.readouterr().err
