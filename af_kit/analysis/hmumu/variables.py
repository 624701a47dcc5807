"""The event variables: two muons, up to two jets, and the angles between them.

Each variable is computed when it is first used: a variation of the jets' energy computes only what its histograms
need. Variables of jets are NaN in events that do not have them.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from af_kit.analysis.hmumu.columns import Collection, scalar
from af_kit.analysis.hmumu.jets import Selected
from af_kit.analysis.hmumu.muons import Dimuons
from af_kit.analysis.hmumu.soft import soft_activity
from af_kit.data.reading.flat import has_branch

__all__ = ["Vector", "Variables", "collins_soper"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Vector(NamedTuple):
    """Four-momenta in Cartesian components [GeV]."""

    px: Any
    py: Any
    pz: Any
    energy: Any

    @classmethod
    def of(cls, pt: Any, eta: Any, phi: Any, mass: Any) -> Vector:
        """Return four-momenta from pt [GeV], eta, phi and mass [GeV]."""
        pz = pt * np.sinh(eta)
        return cls(pt * np.cos(phi), pt * np.sin(phi), pz, np.sqrt(pt**2 + pz**2 + mass**2))

    def plus(self, other: Vector) -> Vector:
        """Return the sums."""
        return Vector(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def pt(self) -> Any:
        """Transverse momentum [GeV]."""
        return np.hypot(self.px, self.py)

    @property
    def mass(self) -> Any:
        """Invariant mass [GeV]; 0 where rounding makes its square negative."""
        return np.sqrt(np.maximum(self.energy**2 - self.px**2 - self.py**2 - self.pz**2, 0))

    @property
    def rapidity(self) -> Any:
        """Rapidity along the beam."""
        return np.arctanh(self.pz / self.energy)

    @property
    def eta(self) -> Any:
        """Pseudorapidity; infinite along the beam."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.arcsinh(self.pz / self.pt)

    @property
    def phi(self) -> Any:
        """Azimuthal angle, from -pi to pi."""
        return np.arctan2(self.py, self.px)


def delta_phi(a: Any, b: Any) -> Any:
    """Return the difference of two azimuthal angles, from -pi to pi."""
    return (a - b + np.pi) % (2 * np.pi) - np.pi


def delta_r(eta1: Any, phi1: Any, eta2: Any, phi2: Any) -> Any:
    """Return the distance in eta and phi."""
    return np.hypot(eta1 - eta2, delta_phi(phi1, phi2))


def collins_soper(negative: Vector, positive: Vector) -> tuple[Floats, Floats]:
    """Return cos(theta) and phi of the negative lepton in the Collins-Soper frame.

    Parameters
    ----------
    negative, positive
        The leptons' four-momenta; their masses count.

    Returns
    -------
    cos_theta, phi
        In the rest frame of the pair. The z axis bisects the angle between one beam (along +z in the laboratory) and
        the opposite of the other; the x axis lies in the plane of the beams, along the pair's transverse momentum.
        phi is between -pi and pi, and measured from the laboratory's x axis if the pair has no transverse momentum.

    Notes
    -----
    J. C. Collins and D. E. Soper, Phys. Rev. D 16 (1977) 2219. The frame is reached by a boost along the pair's
    momentum, without a rotation.
    """
    pair = negative.plus(positive)
    lepton = _boosted(negative, pair)
    ones, zeros = np.ones_like(pair.px), np.zeros_like(pair.px)
    forward = _unit(_boosted(Vector(zeros, zeros, ones, ones), pair))
    backward = _unit(_boosted(Vector(zeros, zeros, -ones, ones), pair))
    z = _unit([a - b for a, b in zip(forward, backward, strict=True)])
    at_rest = (pair.px == 0) & (pair.py == 0)
    x = [-(a + b) for a, b in zip(forward, backward, strict=True)]
    x = _unit([np.where(at_rest, axis, a) for axis, a in zip((1.0, 0.0, 0.0), x, strict=True)])
    y = [z[1] * x[2] - z[2] * x[1], z[2] * x[0] - z[0] * x[2], z[0] * x[1] - z[1] * x[0]]
    momentum = lepton[:3]
    along = [sum(a * b for a, b in zip(momentum, axis, strict=True)) for axis in (x, y, z)]
    size = np.sqrt(sum(a * a for a in momentum))
    return np.clip(along[2] / size, -1, 1), np.arctan2(along[1], along[0])


def _boosted(vector: Vector, frame: Vector) -> Vector:
    """Return the vector in the rest frame of another."""
    mass = frame.mass
    along = (vector.px * frame.px + vector.py * frame.py + vector.pz * frame.pz) / mass
    energy = (vector.energy * frame.energy) / mass - along
    scale = (along / (frame.energy + mass)) - vector.energy / mass
    return Vector(vector.px + scale * frame.px, vector.py + scale * frame.py, vector.pz + scale * frame.pz, energy)


def _unit(vector: Any) -> list[Any]:
    x, y, z = vector[:3]
    size = np.sqrt(x * x + y * y + z * z)
    return [x / size, y / size, z / size]


def _spread(values: NDArray[Any], rows: Ints, size: int) -> Floats:
    """Return ``size`` numbers: the values at their rows, NaN elsewhere."""
    found = np.full(size, np.nan)
    found[rows] = values
    return found


class Variables:
    """The variables of selected events, one value per event.

    Parameters
    ----------
    events
        The events of the chunk.
    chosen
        Position in the chunk of each event for which jets have been read.
    dimuons
        The two muons of each selected event.
    jets, at
        The jets of the chosen events, and the position of each selected event among these.
    selected
        The selected jets.
    jet_pt, jet_mass
        Momenta and masses of all jets: nominal, or of a variation [GeV].
    """

    def __init__(
        self,
        events: Any,
        chosen: Ints,
        dimuons: Dimuons,
        jets: Collection,
        at: Ints,
        selected: Selected,
        jet_pt: Floats,
        jet_mass: Floats,
    ) -> None:
        self.dimuons, self.positions = dimuons, chosen[at]
        self._events, self._jets = events, jets
        self._cached: dict[str, Floats] = {}
        self._columns = {"pt": jet_pt, "mass": jet_mass}
        self.first, self.second = selected.first[at], selected.second[at]
        self.n_jets, self.n_loose, self.n_medium = selected.n[at], selected.n_loose[at], selected.n_medium[at]
        self.dnn_score: Floats | None = None
        """arctanh of the network's output, where there is a network; NaN with fewer than two jets."""

    def value(self, name: str) -> NDArray[Any]:
        """Return a variable by its name: ``dimuon_mass``, ``mu1_pt``, ``jet2_eta``, ``soft_ht_5``, ..."""
        prefix, _, field = name.partition("_")
        if prefix in ("mu1", "mu2"):
            values: NDArray[Any] = self.dimuons.muons[int(prefix[2]) - 1][field]
        elif prefix in ("jet1", "jet2"):
            which = int(prefix[3])
            values = self._matched(which) if field == "has_genjet" else self._optional(field, which)
        elif prefix == "soft":
            kind, threshold = field.split("_")
            values = self.soft_activity[int(threshold)][kind == "ht"]
        else:
            values = getattr(self, name)
        return values

    def cached(self, name: str) -> Floats:
        """Return a variable as float64, the same array at each call."""
        if name not in self._cached:
            self._cached[name] = np.asarray(self.value(name), np.float64)
        return self._cached[name]

    def _optional(self, field: str, which: int) -> Floats:
        """Return a field of a leading jet; NaN if the files do not have it, as the q/g likelihood of Run 3."""
        if field == "qgl" and not has_branch(self._events, "Jet_qgl"):
            return np.full(self.positions.size, np.nan)
        return self.jet(field, which)

    def _matched(self, which: int) -> NDArray[np.bool_]:
        """Return whether the leading (1) or second (2) jet refers to a generator jet; never in data."""
        if not has_branch(self._events, "Jet_genJetIdx"):
            return np.zeros(self.positions.size, np.bool_)
        with np.errstate(invalid="ignore"):
            matched: NDArray[np.bool_] = self.jet("genJetIdx", which) >= 0
        return matched

    @functools.cached_property
    def soft_activity(self) -> dict[int, tuple[Floats, Floats]]:
        """Number and scalar pt sum [GeV] of the soft jets above 2 and 5 GeV (see `soft_activity`)."""
        objects = [(muon["eta"], muon["phi"]) for muon in self.dimuons.muons]
        objects += [(self.jet("eta", which), self.jet("phi", which)) for which in (1, 2)]
        return soft_activity(self._events, self.positions, objects)

    @functools.cached_property
    def n_vertices(self) -> NDArray[Any]:
        """Number of good primary vertices."""
        return scalar(self._events, "PV_npvsGood", self.positions).astype(np.int32)

    @functools.cached_property
    def dimuon_mass_resolution(self) -> Floats:
        """Expected resolution of the mass, absolute [GeV]."""
        return self.dimuons.resolution * self.dimuons.mass

    def jet(self, field: str, which: int) -> Floats:
        """Return a field of the leading (1) or second (2) jet."""
        index = self.first if which == 1 else self.second
        has = np.flatnonzero(index >= 0)
        return _spread(self._jet_values(field, index[has]), has, index.size)

    def _jet_values(self, field: str, index: Ints) -> NDArray[Any]:
        """Return a field of the jets in these rows."""
        return (self._columns[field] if field in self._columns else self._jets[field])[index]

    # The two muons

    @functools.cached_property
    def mu1(self) -> Vector:
        """The muon with the larger corrected pt."""
        return self._muon(0)

    @functools.cached_property
    def mu2(self) -> Vector:
        """The other muon."""
        return self._muon(1)

    def _muon(self, which: int) -> Vector:
        muon = self.dimuons.muons[which]
        return Vector.of(muon["pt"], muon["eta"], muon["phi"], muon["mass"])

    @functools.cached_property
    def dimuon(self) -> Vector:
        """Their sum."""
        return self.mu1.plus(self.mu2)

    @functools.cached_property
    def dimuon_mass(self) -> Floats:
        """Invariant mass of the two muons [GeV]."""
        return self.dimuons.mass

    @functools.cached_property
    def dimuon_pt(self) -> Floats:
        """Transverse momentum of the two muons [GeV]."""
        return self.dimuon.pt

    @functools.cached_property
    def dimuon_rapidity(self) -> Floats:
        """Rapidity of the two muons."""
        return self.dimuon.rapidity

    @functools.cached_property
    def dimuon_eta(self) -> Floats:
        """Pseudorapidity of the two muons."""
        return self.dimuon.eta

    @functools.cached_property
    def dimuon_phi(self) -> Floats:
        """Azimuth of the two muons [rad]."""
        return self.dimuon.phi

    @functools.cached_property
    def _angles(self) -> tuple[Floats, Floats]:
        positive = self.dimuons.muons[0]["charge"] > 0
        negative = Vector(*(np.where(positive, b, a) for a, b in zip(self.mu1, self.mu2, strict=True)))
        other = Vector(*(np.where(positive, a, b) for a, b in zip(self.mu1, self.mu2, strict=True)))
        return collins_soper(negative, other)

    @functools.cached_property
    def cos_theta_cs(self) -> Floats:
        """cos(theta) of the negative muon in the Collins-Soper frame (see `collins_soper`)."""
        return self._angles[0]

    @functools.cached_property
    def phi_cs(self) -> Floats:
        """phi of the negative muon in the Collins-Soper frame [rad]."""
        return self._angles[1]

    # The two leading jets

    @functools.cached_property
    def _two(self) -> Ints:
        """The events with two jets or more: most have fewer, so the momenta of jets are computed only for these."""
        return np.flatnonzero(self.second >= 0)

    @functools.cached_property
    def _leading_jets(self) -> tuple[Vector, Vector]:
        """The leading and the second jet in the events with two."""
        rows = np.concatenate([self.first[self._two], self.second[self._two]])
        both = Vector.of(*(self._jet_values(field, rows) for field in ("pt", "eta", "phi", "mass")))
        number = self._two.size
        return Vector(*(values[:number] for values in both)), Vector(*(values[number:] for values in both))

    @functools.cached_property
    def _dijet(self) -> Vector:
        """The sum of the two leading jets in the events with two."""
        jet1, jet2 = self._leading_jets
        return jet1.plus(jet2)

    def _of_two(self, values: Floats) -> Floats:
        """Return values of the events with two jets as one value per event, NaN for the others."""
        return _spread(values, self._two, self.second.size)

    @functools.cached_property
    def dijet_mass(self) -> Floats:
        """Invariant mass of the two leading jets [GeV]."""
        return self._of_two(self._dijet.mass)

    @functools.cached_property
    def dijet_delta_eta(self) -> Floats:
        """Distance in eta of the two leading jets."""
        return np.abs(self.jet("eta", 1) - self.jet("eta", 2))

    @functools.cached_property
    def dijet_delta_phi(self) -> Floats:
        """Distance in phi of the two leading jets [rad]."""
        return np.abs(delta_phi(self.jet("phi", 1), self.jet("phi", 2)))

    @functools.cached_property
    def min_delta_eta(self) -> Floats:
        """The smaller distance in eta between the dimuon and one of the two leading jets."""
        return np.fmin(*(np.abs(self.dimuon_eta - self.jet("eta", which)) for which in (1, 2)))

    @functools.cached_property
    def min_delta_phi(self) -> Floats:
        """The smaller distance in phi between the dimuon and one of the two leading jets."""
        return np.fmin(*(np.abs(delta_phi(self.dimuon_phi, self.jet("phi", which))) for which in (1, 2)))

    @functools.cached_property
    def zeppenfeld(self) -> Floats:
        """z* = (y(mumu) - (y(j1) + y(j2)) / 2) / |y(j1) - y(j2)|, with rapidities."""
        y1, y2 = (jet.rapidity for jet in self._leading_jets)
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._of_two((self.dimuon_rapidity[self._two] - (y1 + y2) / 2) / np.abs(y1 - y2))

    @functools.cached_property
    def pt_balance(self) -> Floats:
        """R = |pt(mumu) + pt(j1) + pt(j2)| (vectors) over the sum of the three magnitudes."""
        total = Vector(*(component[self._two] for component in self.dimuon)).plus(self._dijet)
        pts = (self._jet_values("pt", index[self._two]) for index in (self.first, self.second))
        return self._of_two(total.pt / (self.dimuon_pt[self._two] + next(pts) + next(pts)))
