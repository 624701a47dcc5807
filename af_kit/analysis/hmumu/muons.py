"""Select the two muons: cuts on raw momenta, then the corrections in their order, then isolation and ordering."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from af_kit.analysis.dimuon.select import pair_mass
from af_kit.analysis.hmumu.campaign import Campaign
from af_kit.analysis.hmumu.columns import Collection
from af_kit.analysis.hmumu.preselection import GoodMuons
from af_kit.corrections import fsr, geofit
from af_kit.corrections.columns import columns as check_columns

__all__ = ["Candidates", "Corrected", "Dimuons", "candidates", "corrected", "pairs"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Muon = Mapping[str, NDArray[Any]]
Resolution = Callable[[tuple[Muon, Muon], Floats], Floats]


class Candidates(NamedTuple):
    """Muons that pass the cuts on raw quantities, in the events that have at least two of them."""

    event: Ints
    """For each muon, its event's position among the chosen events."""
    events: int
    """Number of chosen events."""
    columns: Mapping[str, NDArray[Any]]
    """``pt, eta, phi, mass, charge, isolation, pt_error, dxybs, position`` (in the file), raw."""
    radiating: Ints
    """Which of these muons have a photon."""
    photons: Mapping[str, NDArray[Any]]
    """The photons of these, as :func:`af_kit.corrections.fsr.recover` takes them."""
    collection: Collection
    rows: Ints
    """Position of each muon in the collection."""

    def more(self, field: str) -> NDArray[Any]:
        """Return another field of these muons."""
        return self.collection.of(self.rows, field)


class Corrected(NamedTuple):
    """Momenta of the same muons after the corrections."""

    pt: Floats
    eta: Floats
    phi: Floats
    mass: Floats
    isolation: Floats
    has_photon: NDArray[np.bool_]


class Dimuons(NamedTuple):
    """Events with exactly two selected muons, of opposite charge."""

    event: Ints
    """Position of each event among the chosen ones, ascending."""
    muons: tuple[Muon, Muon]
    """Leading and second muon by corrected pt: ``pt, eta, phi, mass, isolation`` (corrected), ``raw_pt, raw_eta,
    charge, pt_error, position``."""
    mass: Floats
    """Invariant mass [GeV]."""
    resolution: Floats
    """Expected resolution of the mass, relative to the mass."""

    def take(self, keep: NDArray[Any]) -> Dimuons:
        """Return the events for which a mask over these events is true, or those at some positions."""
        both = ({name: values[keep] for name, values in muon.items()} for muon in self.muons)
        return Dimuons(self.event[keep], tuple(both), self.mass[keep], self.resolution[keep])  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self.event.size


class Counts(NamedTuple):
    """Which of the chosen events pass each step of the muon selection."""

    two_good: NDArray[np.bool_]
    opposite: NDArray[np.bool_]
    leading: NDArray[np.bool_]


_RAW = {"isolation": "pfRelIso04_all", "pt_error": "ptErr"}
_PHOTON = {
    "pt": "photon_pt",
    "eta": "photon_eta",
    "phi": "photon_phi",
    "relIso03": "photon_iso",
    "dROverEt2": "photon_dr_over_et2",
}


def candidates(events: Any, chosen: Ints, good: GoodMuons, campaign: Campaign) -> Candidates:
    """Return the raw quantities of the good muons of the chosen events."""
    muons, keep, event = good
    names = ("pt", "eta", "phi", "mass", "charge", "isolation", "pt_error")
    columns: dict[str, NDArray[Any]] = {name: muons.of(keep, _RAW.get(name, name)) for name in names}
    if campaign.geofit is not None:
        columns["dxybs"] = muons.of(keep, "dxybs")
    check_columns("muon selection", {name: columns[name] for name in ("eta", "phi", "mass", "isolation")})
    columns["position"] = muons.position[keep]
    photons = Collection(events, "FsrPhoton", chosen, like="pt")
    rows = photons.rows(event, muons.of(keep, "fsrPhotonIdx").astype(np.int64))
    radiating = np.flatnonzero(rows >= 0)  # few
    own = {name: photons.of(rows[radiating], field) for field, name in _PHOTON.items()}
    return Candidates(event, chosen.size, columns, radiating, own, muons, keep)


def corrected(muons: Candidates, scale: Any, campaign: Campaign, *, switches: Container[str]) -> Corrected:
    """Correct the momenta: the Rochester scale, then FSR photons, then GeoFit for muons without one.

    Parameters
    ----------
    scale
        The factor on each muon's pt; 1 without Rochester corrections.
    switches
        Which of "fsr" and "geofit" are switched on.
    """
    raw = muons.columns
    eta, phi, mass, isolation = (raw[name] for name in ("eta", "phi", "mass", "isolation"))
    (pt,), _ = check_columns("muon selection", {"pt": raw["pt"] * scale})
    found = Corrected(pt, eta, phi, mass, isolation, np.zeros(pt.size, np.bool_))
    if "fsr" in switches:
        rows = muons.radiating
        pt, eta, phi, mass, isolation = (column[rows] for column in found[:-1])
        recovered = fsr.recover(pt, eta, phi, mass=mass, iso=isolation, **muons.photons)
        found = Corrected(*(_replaced(*each, rows) for each in zip(found, recovered, strict=True)))
    if "geofit" in switches and campaign.geofit is not None:
        pt = geofit.geofit(
            found.pt, raw["eta"], raw["dxybs"],
            charge=raw["charge"], recovered=found.has_photon, factors=campaign.geofit,
        )  # fmt: skip
        found = found._replace(pt=pt)
    return found


def _replaced(values: NDArray[Any], own: NDArray[Any], rows: Ints) -> NDArray[Any]:
    """Return a copy in which some rows have values of their own."""
    values = values.copy()
    values[rows] = own
    return values


def pairs(
    muons: Candidates,
    values: Corrected,
    campaign: Campaign,
    resolution: Resolution,
    no_electron: NDArray[np.bool_],
) -> tuple[Dimuons, Counts]:
    """Select events with exactly two isolated muons of opposite charge, one of them above the trigger's threshold.

    The threshold is on the larger raw pt of the two; the muons are ordered by corrected pt (ties: the order of the
    file). ``resolution`` takes the two muons and their mass, and returns the relative resolution of the mass. Of the
    events that pass these steps, those are returned for which ``no_electron`` is true.
    """
    raw, cuts = muons.columns, campaign.muons
    # GeoFit can make the momentum of a muon that is far from the beam line negative: such a muon is not selected.
    good = np.flatnonzero((values.isolation < cuts.max_isolation) & (values.pt > 0))
    counts = np.bincount(muons.event[good], minlength=muons.events)
    two = counts == 2
    first = good[(np.cumsum(counts) - counts)[two]]
    second = good[(np.cumsum(counts) - counts)[two] + 1]
    opposite = raw["charge"][first] != raw["charge"][second]
    leading = opposite & (np.maximum(raw["pt"][first], raw["pt"][second]) > cuts.leading_pt)
    passed = np.flatnonzero(two)
    steps = np.zeros((2, muons.events), np.bool_)
    steps[0, passed[opposite]] = steps[1, passed[leading]] = True
    left = np.flatnonzero(leading & no_electron[passed])
    first, second = first[left], second[left]
    swapped = values.pt[second] > values.pt[first]
    first, second = np.where(swapped, second, first), np.where(swapped, first, second)

    def muon(index: Ints) -> dict[str, NDArray[Any]]:
        own: dict[str, NDArray[Any]] = {
            name: getattr(values, name)[index] for name in ("pt", "eta", "phi", "mass", "isolation")
        }
        own |= {f"raw_{name}": raw[name][index] for name in ("pt", "eta")}
        return own | {name: raw[name][index] for name in ("charge", "pt_error", "position")}

    both = muon(first), muon(second)
    mass = pair_mass(*both)
    return Dimuons(passed[left], both, mass, resolution(both, mass)), Counts(two, *steps)
