"""How well the simulation finds muons: scale factors of the medium identification, for the year of the data."""

from __future__ import annotations

import gzip
import hashlib
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
"""As the files name them. ``stat`` and ``syst`` are uncertainties there, and are added to the nominal factor here;
``systup`` and ``systdown`` are the ends of the combined uncertainty."""

_UNCERTAINTIES = ("stat", "syst")
_YEAR = re.compile(r"(?<!\d)(20[12]\d)(?!\d)")


@dataclass(frozen=True)
class MuonScaleFactors:
    """The scale factors of one or more years.

    It carries the corrections themselves: what was opened here is what the workers use, and no other year's.

    Attributes
    ----------
    years : mapping of str to bytes
        The correction of each year, as compressed JSON.
    sources : mapping of str to str
        The file that each was taken from.
    """

    years: Mapping[str, bytes] = field(repr=False)
    sources: Mapping[str, str]

    def of(self, metadata: Mapping[str, Any]) -> Any:
        """The correction for a dataset.

        Parameters
        ----------
        metadata
            The dataset's: ``era`` ("2017B") or ``year`` says which, ``isMC`` whether there is one at all.

        Raises
        ------
        InputError
            The dataset is data, its year is not known, or there are no scale factors for it.
        """
        dataset = metadata.get("dataset", "")
        if metadata.get("isMC") is not True:
            raise InputError(
                f"Dataset {dataset!r} is data: scale factors correct the simulation, and data are not weighted. If it "
                "is a simulation, its fileset must say so (metadata: isMC: true)."
            )
        year = year_of(metadata)
        if year not in self.years:
            raise InputError(
                f"Dataset {dataset!r} is of {year}, and there are muon scale factors for "
                f"{', '.join(self.years)} ({', '.join(self.sources.values())}). Those of another year are not its "
                f"own: give the file of {year}."
            )
        return corrections.loads(self.years[year], self.sources[year])[NAME]


def load(source: Any) -> MuonScaleFactors:
    """Read scale factors.

    Parameters
    ----------
    source : path, list of paths, or mapping of year to path
        correctionlib files of the CMS muon group (JSON, or JSON compressed by gzip). Without a mapping the year is
        read from the file's name, or from what the file says of itself.

    Raises
    ------
    InputError
        A file cannot be read or does not have the correction, its year is not told, or it is of another year than the
        mapping says.
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
        content, told = _one_correction(path)
        if year and told and year not in told:
            raise InputError(f"{path} is of {' and '.join(told)}, not of {year}.")
        if not year and len(told) != 1:
            raise InputError(f"{path} does not say of which year it is: give it as {{'2017': {str(path)!r}}}.")
        year = year or told[0]
        if year in years:
            raise InputError(f"{path} and {sources[year]} are both of {year}.")
        years[year], sources[year] = content, path.name
    return MuonScaleFactors(years, sources)


def year_of(metadata: Mapping[str, Any]) -> str:
    """The year of a dataset, from its ``era`` or its ``year``; an InputError where it has neither, or both disagree."""
    told = {str(metadata[key])[:4] for key in ("era", "year") if key in metadata}
    dataset = metadata.get("dataset", "")
    if len(told) != 1:
        what = "has no era or year" if not told else f"is of {' and '.join(sorted(told))} at once"
        raise InputError(
            f"Dataset {dataset!r} {what}: which scale factors are its own is not known. Write it into its fileset "
            "(metadata: era: 2017B)."
        )
    return told.pop()


class Weights(NamedTuple):
    """A weight per candidate in each variation, and how many muons were outside of the scale factors' range."""

    values: dict[str, np.ndarray]
    clamped: dict[str, int]


def weights(
    scale_factors: MuonScaleFactors,
    metadata: Mapping[str, Any],
    pt: Sequence[np.ndarray],
    eta: Sequence[np.ndarray],
) -> Weights:
    """The weights of simulated candidates: the product of their muons' scale factors, varied together.

    Parameters
    ----------
    metadata
        The dataset's, as in :meth:`MuonScaleFactors.of`.
    pt, eta
        Of the first muons and of the second, pt in GeV. Where a muon is outside of the range of the scale factors
        (they begin at 3 GeV, the selection at 2), it has those of the nearest edge, and is counted.
    """
    correction = scale_factors.of(metadata)
    values = {name: np.ones(len(pt[0])) for name in VARIATIONS}
    clamped: dict[str, int] = {}
    for muon_pt, muon_eta in zip(pt, eta, strict=True):
        found = correction.variations(
            vary="scale_factors", names=VARIATIONS, abseta=abs(muon_eta), pt=muon_pt, edges="clamp"
        )
        for name in VARIATIONS:
            values[name] *= found["nominal"] + found[name] if name in _UNCERTAINTIES else found[name]
        for name, number in found.clamped.items():
            clamped[name] = clamped.get(name, 0) + number
    return Weights(values, clamped)


def _one_correction(path: Path) -> tuple[bytes, list[str]]:
    """The one correction of a file that is used, and the years that the file tells."""
    opened = corrections.load(path)
    if NAME not in opened:
        raise InputError(f"{path} has no correction {NAME!r}: it is not one of muon identification.")
    raw = path.read_bytes()
    text = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    whole = json.loads(text)
    kept = [item for item in whole["corrections"] if item["name"] == NAME]
    told = _YEAR.findall(path.name) or _YEAR.findall(str(whole.get("description") or ""))
    told = told or _YEAR.findall(str(kept[0].get("description") or ""))
    content = json.dumps({"schema_version": whole["schema_version"], "corrections": kept}, sort_keys=True)
    return gzip.compress(content.encode(), mtime=0), sorted(set(told))


def digest(scale_factors: MuonScaleFactors) -> dict[str, str]:
    """SHA-256 of each year's correction, for the record of what was used."""
    return {year: hashlib.sha256(content).hexdigest() for year, content in scale_factors.years.items()}
