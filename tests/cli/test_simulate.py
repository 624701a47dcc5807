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
