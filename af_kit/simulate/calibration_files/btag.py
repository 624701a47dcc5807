"""The calibration file of b tagging: scale factors of the discriminator, in the format of the b-tag group."""

from __future__ import annotations

from pathlib import Path

from af_kit.simulate.calibration_files.files import write_text
from af_kit.simulate.nano.campaigns import Campaign

_NAMES = {2016: "DeepCSV_2016LegacySF_V1", 2017: "DeepCSV_94XSF_V5_B_F", 2018: "DeepCSV_102XSF_V1"}
_HEADER = (
    "DeepCSV;OperatingPoint, measurementType, sysType, jetFlavor, "
    "etaMin, etaMax, ptMin, ptMax, discrMin, discrMax, formula"
)
# Flavours of the file: 0 bottom, 1 charm, 2 light. Each has the systematics that apply to it.
_SYSTEMATICS = {
    0: {"jes": 0.02, "lf": 0.03, "hfstats1": 0.02, "hfstats2": 0.015},
    1: {"cferr1": 0.12, "cferr2": 0.06},
    2: {"jes": 0.03, "hf": 0.05, "lfstats1": 0.02, "lfstats2": 0.015},
}
_ETA = {0: ((0.0, 2.5),), 1: ((0.0, 2.5),), 2: ((0.0, 0.8), (0.8, 1.6), (1.6, 2.5))}
_PT = {0: ((20, 50), (50, 10000)), 1: ((20, 50), (50, 10000)), 2: ((20, 40), (40, 10000))}
_DISCRIMINATOR = ((-15.0, 0.0), (0.0, 0.4), (0.4, 0.8), (0.8, 1.1))


def write(folder: Path, campaign: Campaign) -> list[Path]:
    """Write all files of this subject."""
    return [write_text(folder / f"{_NAMES[campaign.year]}.btag.csv.gz", scale_factors(campaign.year))]


def scale_factors(year: int) -> str:
    """Return the rows of the measurement "iterativefit": numbers and formulas of the discriminator, x."""
    lines = [_HEADER]
    for flavour, systematics in _SYSTEMATICS.items():
        variations = [("central", 0.0)]
        variations += [(f"{side}_{name}", sign * size) for name, size in systematics.items() for side, sign in _SIDES]
        for name, shift in variations:
            for eta in _ETA[flavour]:
                for pt in _PT[flavour]:
                    for low, high in _DISCRIMINATOR:
                        formula = _formula(year, flavour, eta[0], pt[0], low, shift)
                        row = ("3", "iterativefit", name, flavour, *eta, *pt, low, high, formula)
                        lines.append(", ".join(map(str, row)))
    return "\n".join(lines) + "\n"


_SIDES = (("up", 1), ("down", -1))


def _formula(year: int, flavour: int, eta: float, pt: int, low: float, shift: float) -> str:
    """Return the factor in a bin of the discriminator: constant at its ends, and a polynomial between them."""
    if flavour == 1:
        middle = 1.0 + shift
        return f"{middle:.6f}" if low < 0 or shift == 0 else f"({middle:.6f}+{shift / 4:.6f}*x)"
    start = (0.96 if flavour == 0 else 1.06) + 0.002 * (year - 2017) + 0.01 * eta + (0.01 if pt > 20 else 0.0)
    if low < 0:
        return f"{start + shift:.6f}"
    slope = 0.06 if flavour == 0 else 0.10
    return f"{start:.6f}+x*({slope:.6f}+x*({-slope / 2:.6f}+x*{shift / 4:.6f}))+{shift:.6f}".replace("+-", "-")
