"""Muon scale factors: the efficiency of the medium identification in data over simulation, by year."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from af_kit import corrections
from af_kit.errors import InputError

NAME = "NUM_MediumID_DEN_TrackerMuons"

VARIATIONS = ("nominal", "stat", "syst", "systup", "systdown")
"""The names in the files. ``stat`` and ``syst`` are uncertainties there; the kit adds them to the nominal factor.
``systup`` and ``systdown`` are the nominal factor plus and minus the combined uncertainty."""

_UNCERTAINTIES = ("stat", "syst")
_YEAR = re.compile(r"(?<!\d)(20[12]\d)(?!\d)")


@dataclass(frozen=True)
class MuonScaleFactors:
    """The scale factors of one or more years.

    It contains the corrections themselves, so that the workers need no file.

    Attributes
    ----------
    years : mapping of str to bytes
        The correction of each year, as compressed JSON.
    sources : mapping of str to str
        The name of the file of each year.
    """

    years: Mapping[str, bytes] = field(repr=False)
    sources: Mapping[str, str]

    def of(self, metadata: Mapping[str, Any]) -> corrections.Correction:
        """Return the correction for a simulated dataset.

        Parameters
        ----------
        metadata
            The dataset's metadata, with ``isMC: True`` and ``era`` ("2017B") or ``year``.

        Raises
        ------
        InputError
            If the dataset is data, its year is unknown, or there are no scale factors for its year.
        """
        dataset = metadata.get("dataset", "")
        if metadata.get("isMC") is not True:
            raise InputError(
                f"Dataset {dataset!r} is data: scale factors correct the simulation, and data are not weighted. If it "
                "is simulation, say so in its fileset (metadata: isMC: true)."
            )
        year = year_of(metadata)
        if year not in self.years:
            raise InputError(
                f"Dataset {dataset!r} is of {year}, and there are muon scale factors for {', '.join(self.years)} only "
                f"({', '.join(self.sources.values())}). Add the file of {year}."
            )
        return corrections.loads(self.years[year], self.sources[year])[NAME]


def load(source: Any) -> MuonScaleFactors:
    """Load scale factors.

    Parameters
    ----------
    source : path, list of paths, or mapping of year to path
        correctionlib files of the CMS muon group (JSON, or JSON compressed by gzip). Without a mapping, the year is
        taken from the file's name or, if the name has none, from the descriptions in the file.

    Raises
    ------
    InputError
        If a file cannot be read or lacks the correction, or if its year is unknown or contradicts the mapping.
    """
    if isinstance(source, MuonScaleFactors):
        return source
    if isinstance(source, Mapping):
        items = [(str(year), Path(path)) for year, path in source.items()]
    else:
        paths = [source] if isinstance(source, str | Path) else list(source)
        items = [("", Path(path)) for path in paths]
    years: dict[str, bytes] = {}
    sources: dict[str, str] = {}
    for year, path in items:
        content, years_found = _read(path)
        if year and years_found and year not in years_found:
            raise InputError(f"{path} is of {' and '.join(years_found)}, not of {year}.")
        if not year and len(years_found) != 1:
            raise InputError(f"{path} does not say which year it is for: pass it as {{'2017': {str(path)!r}}}.")
        year = year or years_found[0]
        if year in years:
            raise InputError(f"{path} and {sources[year]} are both of {year}.")
        years[year], sources[year] = content, path.name
    return MuonScaleFactors(years, sources)


def year_of(metadata: Mapping[str, Any]) -> str:
    """Return the year of a dataset from its ``era`` or ``year``; an InputError if it has neither or they disagree."""
    years = {str(metadata[key])[:4] for key in ("era", "year") if key in metadata}
    if len(years) != 1:
        problem = "has no era or year" if not years else f"is of {' and '.join(sorted(years))} at once"
        raise InputError(
            f"Dataset {metadata.get('dataset', '')!r} {problem}: it is unknown which scale factors it needs. Add its "
            "era to the fileset (metadata: era: 2017B)."
        )
    return years.pop()


class Weights(NamedTuple):
    """A weight per candidate in each variation, and the number of muons outside the range of the scale factors."""

    values: dict[str, np.ndarray]
    clamped: dict[str, int]


def weights(
    scale_factors: MuonScaleFactors,
    metadata: Mapping[str, Any],
    pt: Sequence[np.ndarray],
    eta: Sequence[np.ndarray],
) -> Weights:
    """Return the weights of simulated candidates: the product of their muons' scale factors, varied together.

    Parameters
    ----------
    metadata
        The dataset's metadata, as in :meth:`MuonScaleFactors.of`.
    pt, eta
        Of the first muons and of the second muons; pt in GeV. A muon outside the range of the scale factors (they
        start at 3 GeV, the selection at 2) has the factor of the nearest edge, and is counted.
    """
    correction = scale_factors.of(metadata)
    values = {name: np.ones(len(pt[0])) for name in VARIATIONS}
    clamped: dict[str, int] = {}
    for muon_pt, muon_eta in zip(pt, eta, strict=True):
        factors = correction.variations(
            vary="scale_factors", names=VARIATIONS, abseta=abs(muon_eta), pt=muon_pt, edges="clamp"
        )
        for name in VARIATIONS:
            values[name] *= factors["nominal"] + factors[name] if name in _UNCERTAINTIES else factors[name]
        for name, number in factors.clamped.items():
            clamped[name] = clamped.get(name, 0) + number
    return Weights(values, clamped)


def _read(path: Path) -> tuple[bytes, list[str]]:
    """Return the correction of a file, compressed, and the years that the file names."""
    if NAME not in corrections.load(path):
        raise InputError(f"{path} has no correction {NAME!r}: it is not a file of muon identification.")
    raw = path.read_bytes()
    content = json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    used = [item for item in content["corrections"] if item["name"] == NAME]
    descriptions = (path.name, content.get("description"), used[0].get("description"))
    years = next(filter(None, (_YEAR.findall(str(text or "")) for text in descriptions)), [])
    smaller = json.dumps({"schema_version": content["schema_version"], "corrections": used}, sort_keys=True)
    return gzip.compress(smaller.encode(), mtime=0), sorted(set(years))
