from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from af_kit.analysis import dimuon
from af_kit.errors import InputError

REAL_NANOAOD = Path(__file__).parents[4] / "shared" / "cms" / "nano_dimuon.root"


@pytest.mark.parametrize("engine", ["awkward", "numba"])
def test_a_file_in_chunks(sample, events, engine):
    result = dimuon.process(sample, engine=engine, chunk_entries=3000, progress=False)
    result.report.check()
    expected = dimuon.analyse(events)
    assert result.keys() == expected.keys()
    assert result["mass"] == expected["mass"]
    assert result["multiplicity"] == expected["multiplicity"]
    rows = result["candidates"]
    assert rows["entry"].to_pylist() == expected["candidates"]["entry"].to_pylist()
    assert np.allclose(rows["mass"], expected["candidates"]["mass"], rtol=1e-12, atol=0)


def test_only_the_branches_that_are_used_are_read(sample):
    report = dimuon.process(sample, progress=False).report
    muon = {"nMuon", "Muon_pt", "Muon_eta", "Muon_phi", "Muon_mass", "Muon_charge"}
    assert set(report.branches) == muon | {"run", "luminosityBlock", "event"}


def test_an_unknown_engine_is_refused(sample):
    with pytest.raises(InputError, match="'numba'"):
        dimuon.process(sample, engine="numbs")


def test_the_compiled_engine_uses_its_checkpoint(sample, tmp_path):
    """The key contains everything that the function uses, except the machine code of the kernel."""
    for _ in range(2):
        dimuon.process(sample, engine="numba", checkpoint=tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not REAL_NANOAOD.exists(), reason="the real NanoAOD file is not here")
def test_real_nanoaod():
    result = dimuon.process(REAL_NANOAOD, progress=False)
    result.report.check()
    assert result.report.entries["processed"] == 40
    rows = result["candidates"]
    assert rows.num_rows == 14
    assert rows["run"][0].as_py() == 315267
    assert rows["mass"][0].as_py() == pytest.approx(90.5270, abs=1e-4)
    assert dimuon.process(REAL_NANOAOD, engine="numba", progress=False)["mass"] == result["mass"]
