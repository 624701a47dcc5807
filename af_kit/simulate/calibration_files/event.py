"""Calibration files of whole events: certified data, pile-up, and the theory of Z and Higgs boson production."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from af_kit.simulate.calibration_files.files import graph, histogram, write_json, write_root, write_text
from af_kit.simulate.nano.campaigns import Campaign
from af_kit.simulate.nano.recorded import golden_json

_GOLDEN = {
    2016: "Cert_271036-284044_13TeV_Collisions16.txt",
    2017: "Cert_294927-306462_13TeV_Collisions17.txt",
    2018: "Cert_314472-325175_13TeV_Collisions18_JSON.txt",
    2022: "Cert_Collisions2022_355100_362760_Golden.json",
}
_PILEUP = {
    2016: ("PileupData_GoldenJSON_Full2016.root", "pileup_profile_Summer16.root"),
    2017: ("puData2017_withVar.root", "mcPileup2017.root"),
    2018: ("puData2018_withVar.root", "mcPileup2018.root"),
}


def write(folder: Path, campaign: Campaign) -> list[Path]:
    """Write all files of this subject."""
    data, simulation = _PILEUP[campaign.year]
    edges = [np.arange(campaign.pileup_bins + 1)]
    # As many events as the trigger sees of this luminosity, of no importance: weights are normalised.
    recorded = {
        key: histogram(edges, 1e9 * campaign.pileup(of), 0.0)
        for key, of in (("pileup", "data"), ("pileup_plus", "plus"), ("pileup_minus", "minus"))
    }
    return [
        golden(folder, campaign),
        write_root(folder / data, recorded),
        write_root(folder / simulation, {"pu_mc": histogram(edges, campaign.pileup("mc"), 0.0)}),
        write_root(folder / "NNLOPS_reweight.root", _nnlops()),
        write_json(folder / "zpt_weights.histo.json", {"zpt_weights": {year: _zpt(year) for year in ("2016", "2017")}}),
        write_json(folder / "vbf_stxs.json", vbf_stxs()),
    ]


def golden(folder: Path, campaign: Campaign) -> Path:
    """Write the list of certified luminosity blocks of the simulated data."""
    import json

    return write_text(folder / _GOLDEN[campaign.year], json.dumps(golden_json(campaign)) + "\n")


def _nnlops() -> dict[str, Any]:
    """Return the ratio of predictions for the Higgs boson's momentum, by generator and number of jets."""
    objects = {}
    for generator, low in (("mcatnlo", 1.10), ("powheg", 1.20)):
        for jets, last in enumerate((125.0, 625.0, 800.0, 925.0)):
            name = f"gr_NNLOPSratio_pt_{generator}_{jets}jet"
            pt = np.linspace(5.0, last, 6)
            objects[name] = graph(pt, low - 0.05 * jets - 0.25 * pt / (pt + 150), name)
    return objects


def _zpt(year: str) -> dict[str, dict[str, float]]:
    edges = [0, 10, 20, 30, 40, 50, 60, 70, 80, 100, 150, 200, 1000]
    values = 1.05 - 0.03 * np.log1p(np.array(edges[:-1]) / 10) + (0.004 if year == "2017" else 0)
    return {
        f"pt:[{low:.1f},{high:.1f}]": {"value": round(float(value), 5)}
        for low, high, value in zip(edges[:-1], edges[1:], values, strict=True)
    }


_MJJ = {"Mjj60": 60, "Mjj120": 120, "Mjj350": 350, "Mjj700": 700, "Mjj1000": 1000, "Mjj1500": 1500}


def vbf_stxs() -> dict[str, Any]:
    """Return the uncertainties of vector-boson fusion in the bins of stage 1.1, fine (200 to 224).

    A source that moves events across a boundary adds to the bins above it what it takes from those below, in proportion
    to their cross-sections; TOT scales all.
    """
    mjj = [0, 60, 120, 0, 60, 120, *(m for m in (350, 700, 1000, 1500) for _ in (0, 1))]
    soft = [25.0, 40.0, 130.0, 12.0, 25.0, 190.0, 100.0, 260.0, 45.0, 130.0, 40.0, 120.0, 28.0, 125.0]
    bins: dict[str, tuple[float, int, float, bool]] = {}  # cross-section, jets, dijet mass, much recoil
    for code, xsec, jets in ((200, 250.0, 0), (201, 280.0, 0), (202, 1200.0, 1)):
        bins[str(code)] = (xsec, jets, 0, False)
    for index, (low, xsec) in enumerate(zip(mjj, soft, strict=True)):
        much = index in (3, 4, 5) or (index > 5 and index % 2 == 1)
        bins[str(203 + index)] = (xsec, 2, low, much)
    for index, low in enumerate(m for m in (350, 700, 1000, 1500) for _ in (0, 1)):
        bins[str(217 + index)] = (15.0 + 2 * index, 2, low, index % 2 == 1)

    def moved(above: set[str], below: set[str]) -> dict[str, float]:
        up, down = (sum(bins[code][0] for code in codes) for codes in (above, below))
        return {code: (code in above) * bins[code][0] / up - (code in below) * bins[code][0] / down for code in bins}

    two = {code for code, (_, jets, _, _) in bins.items() if jets == 2}
    few = {code for code, (_, jets, _, _) in bins.items() if jets < 2 and code != "200"}
    boosted = {code for code in two if int(code) >= 217}
    recoiling = {code for code in two if bins[code][3]}
    total = sum(bins[code][0] for code in bins)
    sources = {"TOT": {code: bins[code][0] / total for code in bins}, "PTH200": moved(boosted, two - boosted)}
    for name, edge in _MJJ.items():
        heavy = {code for code in two if bins[code][2] >= edge}
        sources[name] = moved(heavy, two - heavy)
    sources["PTH25"] = moved(recoiling, two - recoiling)
    sources["JET01"] = moved(two, few)
    return {
        "names": list(sources),
        "acceptance": {code: [round(of[code], 4) for of in sources.values()] for code in bins},
        "deltas": [14.0, 0.5, 9.0, 7.0, 7.5, 3.5, 2.5, 1.0, 20.0, 18.0],
        "powheg_xsec": {code: xsec for code, (xsec, *_) in bins.items()},
    }
