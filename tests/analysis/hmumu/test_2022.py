"""The campaign 2022 on simulated files with the branches of its NanoAOD version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

import af_kit as af
from af_kit import simulate
from af_kit.analysis import hmumu
from af_kit.corrections.jet_id import tight_jet_id_2022

KINDS = {"data": 1500, "vbf-hmumu": 500}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hmumu2022")
    for kind, events in KINDS.items():
        simulate.nanoaod(folder / f"{kind}.root", events, 3, kind=kind, year=2022)
    simulate.calibrations(folder / "calibrations", 2022)
    return folder


def processed(files: Path, corrections: str, variations: str) -> Any:
    metadata = {"data": {"isMC": False}, "vbf-hmumu": {"process": "vbf", "xsec_pb": 8.2107e-4}}
    fileset = {
        kind: {"files": [str(files / f"{kind}.root")], "metadata": {"year": 2022, **metadata[kind]}} for kind in KINDS
    }
    with pytest.warns(UserWarning, match=r"2022 is not for publication: it lacks jet veto map.*13\.6 TeV"):
        result = hmumu.process(
            fileset, calibrations=files / "calibrations", corrections=corrections, variations=variations, progress=False
        )
    result.report.check()
    return result


def test_it_runs_and_says_what_it_lacks(files: Path, tmp_path: Path) -> None:
    names = set(uproot.open(files / "vbf-hmumu.root")["Events"].keys())
    assert {"Jet_chMultiplicity", "Electron_mvaIso_WP90", "Rho_fixedGridRhoFastjetAll"} < names
    assert not {"Jet_puId", "Jet_qgl", "Jet_btagDeepB", "fixedGridRhoFastjetAll"} & names

    result, plain = processed(files, "all", "all"), processed(files, "none", "none")
    rows, raw = (one["candidates"].to_pandas().query("dataset == 'vbf-hmumu'") for one in (result, plain))
    assert (rows["n_jets"] >= 2).mean() > 0.5
    assert rows[["jet1_qgl", "jet2_qgl"]].isna().all(axis=None)
    assert set(rows["channel"]) > {"ggh_0jet", "vbf"}
    # The simulated jets in the file are corrected already: the corrections lead to the same momenta.
    assert rows["n_jets"].tolist() == raw["n_jets"].tolist()
    np.testing.assert_allclose(rows["jet1_pt"], raw["jet1_pt"], rtol=2e-3)

    sources = set(result["sources"])
    assert {"jes_Absolute_2022", "jes_RelativeSample_2022", "jer1", "lhe_ren"} < sources
    assert len([name for name in sources if name.startswith("jes_")]) == 11
    assert not {"quark_gluon", "pileup", "prefiring", "muon_id"} & sources
    view = result["histograms"]["vbf-hmumu"]["dijet_mass"].view(flow=True)["value"].sum(axis=(0, 1))
    labels = list(result["histograms"]["vbf-hmumu"]["dijet_mass"].axes["variation"])
    up, nominal, down = (view[labels.index(label)] for label in ("jes_FlavorQCD_up", "nominal", "jes_FlavorQCD_down"))
    assert not np.array_equal(up, nominal)
    assert not np.array_equal(up, down)
    assert result["luminosity_blocks"]["processed"]

    hmumu.write(result, tmp_path, plots=False)
    written = json.loads((tmp_path / "normalisation.json").read_text())
    assert written["lacking"] == list(hmumu.load_campaign(2022).lacking)
    for known, texts in ((result, 1), ({**result, "lacking": []}, 0)):
        figure = hmumu.compare(known, "dimuon_mass", region="z_peak", channel="ggh_0jet")
        assert [text.get_text() for text in figure.axes[0].texts].count("not for publication") == texts


def test_jets_of_noise_fail_the_identification(files: Path) -> None:
    (chunk,) = af.plan([files / "data.root"])
    jets = af.read(chunk).Jet
    passed = ak.flatten(tight_jet_id_2022(jets, lepton_veto=False))
    noise, central = ak.flatten(jets.jetId == 0), ak.flatten(abs(jets.eta) <= 3)
    assert 0 < ak.mean(noise) < 0.1
    assert not ak.any(passed[noise & central])
    assert ak.mean(passed[~noise & central]) > 0.95
