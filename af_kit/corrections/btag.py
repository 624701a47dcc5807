"""Weights that correct the shape of the b-tag discriminator in simulation, from CMS's csv files.

shape = BtagShape.load(path)
weight = shape.weight(jets.pt, jets.eta, jets.btagDeepB, jets.hadronFlavour)
weight.nominal, weight.variations["lf"].up

An analysis that varies the jet energy scale up takes ``shape.varied("jes", "up", ...)`` as weight of the varied jets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.corrections.bins import Bins
from af_kit.corrections.files import once_per_file, read_text
from af_kit.corrections.formula import polynomial
from af_kit.corrections.per_event import per_event, product
from af_kit.corrections.weight import Pair, Weight
from af_kit.errors import InputError, nearest

__all__ = ["SYSTEMATICS", "BtagShape"]

_B, _C, _LIGHT = 0, 1, 2  # flavours of the files

SYSTEMATICS: dict[str, tuple[int, ...]] = {
    "jes": (_B, _LIGHT),
    "lf": (_B,),
    "hf": (_LIGHT,),
    "hfstats1": (_B,),
    "hfstats2": (_B,),
    "lfstats1": (_LIGHT,),
    "lfstats2": (_LIGHT,),
    "cferr1": (_C,),
    "cferr2": (_C,),
}
"""The flavours that each systematic source changes (0 b, 1 c, 2 light); for all others the weight stays nominal."""

_MAX_PT = 1000.0
_MAX_ETA = 2.4
_SHAPE = "3"  # the operating point that means: the whole discriminator


@dataclass(frozen=True, eq=False)
class _Curves:
    """Polynomials in the discriminator, one per bin in |eta|, pt and discriminator."""

    bins: Bins
    coefficients: NDArray[np.float64]
    """Of shape (powers, bins), the constant first."""

    def evaluate(self, rows: NDArray[np.int32], discriminator: NDArray[np.float64]) -> NDArray[np.float64]:
        value = np.zeros(len(rows))
        for power in reversed(self.coefficients):
            value = value * discriminator + power[rows]
        return np.where(rows >= 0, value, 1.0)


@dataclass(frozen=True, eq=False)
class BtagShape:
    """The corrections of one csv file, with its nine sources of systematic uncertainty."""

    curves: Mapping[tuple[str, int], _Curves]
    """By type, such as ``"central"`` and ``"up_jes"``, and flavour."""

    @classmethod
    def load(cls, path: str | Path) -> BtagShape:
        """Read a csv file of scale factors, plain or compressed by gzip; cached until it changes.

        Raises
        ------
        InputError
            The file cannot be read, or does not have the shape correction with all `SYSTEMATICS`.
        """
        return _read(path)

    def weight(self, pt: Any, eta: Any, discriminator: Any, hadron_flavour: Any, *, counts: Any = None) -> Weight:
        """Return the weight of each event: the product over its jets.

        Parameters
        ----------
        pt, eta : array
            Of the selected jets, pt in GeV: in lists per event, or flat with ``counts``. Above 1000 GeV the weight is
            that at 1000 GeV. Jets with |eta| >= 2.4 or below the file's lowest pt (20 GeV) have weight 1.
        discriminator : array
            The discriminator of the file, such as NanoAOD's ``Jet_btagDeepB``.
        hadron_flavour : array of integers
            NanoAOD's ``Jet_hadronFlavour``: 5 b, 4 c, all others light.
        counts : array of integers, optional
            The number of jets of each event.

        Returns
        -------
        Weight
            Not normalised, with all `SYSTEMATICS` as variations. Normalise each after all chunks are merged.

        Raises
        ------
        InputError
            A value is NaN, or counts do not fit.
        """
        jets = _Jets(*per_event(_given(pt, eta, discriminator, hadron_flavour), counts))
        nominal = self._of_jets(jets)
        variations = {
            name: Pair(
                up=product(self._of_jets(jets, name, "up", nominal), jets.counts),
                down=product(self._of_jets(jets, name, "down", nominal), jets.counts),
            )
            for name in SYSTEMATICS
        }
        return Weight(product(nominal, jets.counts), variations)

    def nominal(
        self, *, pt: Any, eta: Any, discriminator: Any, hadron_flavour: Any, counts: Any = None
    ) -> NDArray[np.float64]:
        """Return the nominal weight of each event, without the variations; arguments as for `weight`."""
        jets = _Jets(*per_event(_given(pt, eta, discriminator, hadron_flavour), counts))
        return product(self._of_jets(jets), jets.counts)

    def varied(
        self,
        systematic: str,
        direction: str,
        *,
        pt: Any,
        eta: Any,
        discriminator: Any,
        hadron_flavour: Any,
        counts: Any = None,
    ) -> NDArray[np.float64]:
        """Return the weight of each event with one source varied, without the other variations.

        With ``"jes"`` it is the weight for jets whose energy scale is varied in the same direction, by any source.

        Parameters
        ----------
        systematic : str
            One of `SYSTEMATICS`.
        direction : {"up", "down"}
            Direction of the variation.
        pt, eta, discriminator, hadron_flavour, counts
            As for `weight`, of the varied jets.
        """
        if systematic not in SYSTEMATICS:
            raise InputError(f"There is no systematic source {systematic!r}.{nearest(systematic, SYSTEMATICS)}")
        if direction not in ("up", "down"):
            raise InputError(f"direction={direction!r} is not valid.{nearest(direction, ['up', 'down'])}")
        jets = _Jets(*per_event(_given(pt, eta, discriminator, hadron_flavour), counts))
        return product(self._of_jets(jets, systematic, direction, self._of_jets(jets)), jets.counts)

    def _of_jets(
        self, jets: _Jets, systematic: str = "", direction: str = "", nominal: Any = None
    ) -> NDArray[np.float64]:
        """Return the weight of each jet: nominal, or with one source varied for its flavours."""
        values = np.ones(len(jets.pt)) if nominal is None else nominal.copy()
        name = f"{direction}_{systematic}" if systematic else "central"
        for flavour in SYSTEMATICS.get(systematic, (_B, _C, _LIGHT)):
            curves = self.curves[name, flavour]
            at = jets.of_flavour(flavour)
            values[at] = curves.evaluate(jets.rows(flavour, curves.bins), jets.discriminator[at])
        return values


def _given(pt: Any, eta: Any, discriminator: Any, hadron_flavour: Any) -> dict[str, Any]:
    return {"pt": pt, "eta": eta, "discriminator": discriminator, "hadronFlavour": hadron_flavour}


class _Jets:
    """Flat jets; bins that several sources share are searched once."""

    def __init__(self, columns: Mapping[str, NDArray[np.float64]], counts: NDArray[np.int64]) -> None:
        self.pt = np.minimum(columns["pt"], _MAX_PT)
        self.abs_eta = np.abs(columns["eta"])
        self.discriminator = columns["discriminator"]
        self.counts = counts
        flavour = columns["hadronFlavour"]
        tagged = {_B: flavour == 5, _C: flavour == 4}
        tagged[_LIGHT] = ~(tagged[_B] | tagged[_C])
        self._at = {of: np.flatnonzero(jets & (self.abs_eta < _MAX_ETA)) for of, jets in tagged.items()}
        self._found: dict[tuple[int, int], NDArray[np.int32]] = {}

    def of_flavour(self, flavour: int) -> NDArray[np.int64]:
        """Return the indices of jets of a flavour within |eta| < 2.4."""
        return self._at[flavour]

    def rows(self, flavour: int, bins: Bins) -> NDArray[np.int32]:
        key = (flavour, id(bins))
        if key not in self._found:
            at = self._at[flavour]
            self._found[key] = bins.find([self.abs_eta[at], self.pt[at], self.discriminator[at]])
        return self._found[key]


@once_per_file
def _read(path: str) -> BtagShape:
    wanted = {("central", flavour) for flavour in (_B, _C, _LIGHT)}
    for systematic, flavours in SYSTEMATICS.items():
        wanted |= {(f"{direction}_{systematic}", flavour) for direction in ("up", "down") for flavour in flavours}
    rows: dict[tuple[str, int], list[tuple[list[float], str]]] = {key: [] for key in sorted(wanted)}
    for number, cells in _lines(path):
        if len(cells) < 11 or cells[0] != _SHAPE or cells[1] != "iterativefit":
            continue
        try:
            key = (cells[2], int(cells[3]))
            limits = [float(cell) for cell in cells[4:10]]
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}") from error
        if key in rows:
            rows[key].append((limits, ",".join(cells[10:]).strip().strip('"')))
    missing = [f"{name} of flavour {flavour}" for (name, flavour), found in rows.items() if not found]
    if missing:
        raise InputError(f"{path} is not a csv file with the shape correction of a b tagger: it lacks {missing[0]}.")
    shared: list[Bins] = []
    return BtagShape({key: _curves(found, shared) for key, found in rows.items()})


def _lines(path: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        yield number, [cell.strip() for cell in line.split(",")]


def _curves(rows: list[tuple[list[float], str]], shared: list[Bins]) -> _Curves:
    limits = np.array([limit for limit, _ in rows])
    bins = Bins(limits[:, 0::2], limits[:, 1::2])
    same = next((known for known in shared if known.same(bins)), None)
    if same is None:
        shared.append(bins)
        same = bins
    found = [polynomial(text) for _, text in rows]
    coefficients = np.zeros((max(map(len, found)), len(rows)))
    for row, powers in enumerate(found):
        coefficients[: len(powers), row] = powers
    return _Curves(same, coefficients)
