"""What a dataset is: data or a simulated process, from its metadata in the fileset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from af_kit.analysis.hmumu.campaign import Campaign
from af_kit.analysis.hmumu.regions import REGIONS
from af_kit.errors import InputError, nearest

__all__ = ["GROUPS", "PROCESSES", "Sample", "sample_of"]

GROUPS = {
    "data": ("data",),
    "DY": ("dy",),
    "EWK Zjj": ("ewkzjj",),
    "tt + single top": ("ttbar", "singletop"),
    "VV + VVV + ttV": ("diboson", "triboson", "ttv"),
    "H": ("ggh", "vbf", "wh", "zh", "tth"),
    "other": ("unknown",),
}
"""Groups of processes in plots and templates."""

PROCESSES = tuple(process for group in GROUPS.values() for process in group)
"""The values of ``process`` in a dataset's metadata; "unknown" for simulation whose metadata say nothing."""

_STITCHING = ("inclusive", "filtered")
_SHOWERS = ("pythia", "herwig")
_GENERATORS = ("powheg", "mcatnlo")


@dataclass(frozen=True)
class Sample:
    """A dataset, as far as the analysis needs to know.

    Attributes
    ----------
    dataset : str
        Name of the dataset.
    is_mc : bool
        Whether it is simulation.
    process : str
        One of `PROCESSES`; "data" for data.
    xsec_pb : float or None
        Cross-section, with branching ratio and filter efficiency [pb]; None for data.
    lumi_ipb : float or None
        Luminosity to scale to [1/pb], from ``lumi_ifb``; None: that of the campaign.
    stitching : str or None
        "inclusive" or "filtered", for the two samples of Drell-Yan that are stitched at a generator dijet mass of
        350 GeV.
    regions : tuple of str, or None
        The regions that the dataset describes; events in others are left out. None: all. Two samples of Drell-Yan, one
        of them generated in the signal region's masses only, would count the same collisions twice.
    shower, generator : str
        The parton shower ("pythia", "herwig"), for quark/gluon weights; the generator of ggH ("powheg", "mcatnlo"), for
        NNLOPS.
    lha_ids : tuple of int, or None
        First and last LHA identifier of ``LHEPdfWeight``.
    """

    dataset: str
    is_mc: bool
    process: str
    xsec_pb: float | None = None
    lumi_ipb: float | None = None
    stitching: str | None = None
    regions: tuple[str, ...] | None = None
    shower: str = "pythia"
    generator: str = "powheg"
    lha_ids: tuple[int, int] | None = None


def sample_of(metadata: Mapping[str, Any], campaign: Campaign, *, has_weights: bool) -> Sample:
    """Return what a dataset is.

    Parameters
    ----------
    metadata
        The dataset's metadata: ``dataset``, ``isMC``, ``process``, ``xsec_pb``, ``year``, ``lumi_ifb``, ``stitching``,
        ``regions``, ``shower``, ``generator``, ``lha_ids``.
    has_weights
        Whether its files have ``genWeight``. Without ``isMC`` in the metadata, this decides.

    Raises
    ------
    InputError
        A value is not known, contradicts another, or the dataset is of another year than the campaign.
    """
    dataset = str(metadata.get("dataset", ""))
    is_mc = metadata.get("isMC", has_weights)
    if not isinstance(is_mc, bool):
        raise InputError(f"Dataset {dataset!r}: isMC is {is_mc!r}; it must be true or false.")
    if is_mc and not has_weights:
        raise InputError(f"Dataset {dataset!r} is simulation (isMC: true), but its files have no genWeight.")
    year = metadata.get("year")
    if year is not None and str(year) != str(campaign.year):
        raise InputError(
            f"Dataset {dataset!r} is of {year}, and the campaign of {campaign.year}: their working points and "
            f"corrections differ. Run each year by itself (--year {year})."
        )
    process = str(metadata.get("process", "unknown" if is_mc else "data"))
    if process not in PROCESSES:
        raise InputError(
            f"Dataset {dataset!r} has the process {process!r}, which is not one of {', '.join(PROCESSES)}."
            f"{nearest(process, PROCESSES)}"
        )
    if is_mc == (process == "data"):
        raise InputError(f"Dataset {dataset!r} has isMC: {str(is_mc).lower()} and process: {process}; one is wrong.")
    if not is_mc:
        return Sample(dataset, False, "data")
    choices = {"stitching": (_STITCHING, None), "shower": (_SHOWERS, "pythia"), "generator": (_GENERATORS, "powheg")}
    options: dict[str, Any] = {}
    for key, (known, default) in choices.items():
        options[key] = metadata.get(key, default)
        if options[key] is not default and options[key] not in known:
            raise InputError(
                f"Dataset {dataset!r}: {key} is {options[key]!r}, not one of {', '.join(known)}."
                f"{nearest(str(options[key]), known)}"
            )
    ids = metadata.get("lha_ids")
    lha_ids = None if ids is None else (int(ids[0]), int(ids[-1]))
    xsec, lumi = (_positive(dataset, metadata, key) for key in ("xsec_pb", "lumi_ifb"))
    options |= {"lumi_ipb": None if lumi is None else 1000 * lumi, "regions": _regions(dataset, metadata)}
    return Sample(dataset, True, process, xsec, lha_ids=lha_ids, **options)


def _regions(dataset: str, metadata: Mapping[str, Any]) -> tuple[str, ...] | None:
    value = metadata.get("regions")
    if value is None:
        return None
    names = (value,) if isinstance(value, str) else tuple(map(str, value))
    for name in names:
        if name not in REGIONS:
            raise InputError(f"Dataset {dataset!r}: {name!r} is not a region.{nearest(name, REGIONS)}")
    return names


def _positive(dataset: str, metadata: Mapping[str, Any], key: str) -> float | None:
    value = metadata.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise InputError(f"Dataset {dataset!r}: {key} is {value!r}; it must be a positive number.")
    return float(value)
