"""Theory variations that the generator stores as weights per event: scales, parton densities and alpha_s.

All weights are relative to the nominal one, which is 1. Each event's variation is made from its own weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from af_kit.corrections.columns import Column, checked
from af_kit.corrections.weight import Pair, Weight
from af_kit.data.reading.flat import flat_list
from af_kit.errors import InputError

__all__ = ["PDFSet", "scales"]


class _Entries(NamedTuple):
    """Positions in ``LHEScaleWeight``: (down, up) of each scale, and of the nominal weight if it is stored."""

    renormalisation: tuple[int, int]
    factorisation: tuple[int, int]
    nominal: int | None


# By the number of entries. NanoAOD stores all combinations of half, once and twice the two scales (9, or 8 without the
# nominal one); the 44 of older samples include other choices of the central scale.
_ENTRIES: Mapping[int, _Entries] = {
    9: _Entries((1, 7), (3, 5), 4),
    8: _Entries((1, 6), (3, 4), None),
    44: _Entries((5, 34), (15, 24), None),
}


def scales(weights: Any, *, sources: tuple[str, str] = ("lhe_ren", "lhe_fac")) -> Weight:
    """Return the variations of the renormalisation and the factorisation scale, by factors of 2.

    Parameters
    ----------
    weights : array
        ``LHEScaleWeight``: a list per event, with 9, 8 or 44 entries. Up is twice the scale. Where the nominal weight
        is one of the entries, the others are divided by it.
    sources : two str
        Names of the two systematic sources.

    Returns
    -------
    Weight
        Nominal 1; numpy arrays with one number per event.

    Raises
    ------
    InputError
        A weight is NaN or infinite, events have different numbers of weights or an unknown number, or a nominal weight
        is 0.
    """
    table = _matrix("LHEScaleWeight", weights)
    size, entries = table.shape
    if not size:
        return Weight(np.ones(0), {source: Pair(np.ones(0), np.ones(0)) for source in sources})
    if entries not in _ENTRIES:
        raise InputError(
            f"LHEScaleWeight has {entries} entries per event. The kit knows the order of 9, 8 and 44 entries: check "
            "the branch's title, and take the variations from it."
        )
    known = _ENTRIES[entries]
    unit: Any = 1.0
    if known.nominal is not None:
        unit = table[:, known.nominal]
        if (unit == 0).any():
            raise InputError(f"LHEScaleWeight: the nominal weight is 0 for {int((unit == 0).sum())} of {size} events.")
    pairs = (known.renormalisation, known.factorisation)
    varied = {
        source: Pair(table[:, up] / unit, table[:, down] / unit)
        for source, (down, up) in zip(sources, pairs, strict=True)
    }
    return Weight(np.ones(size), varied)


HESSIAN, REPLICAS = "hessian", "replicas"
_KINDS: Mapping[int, tuple[str, int, bool]] = {
    # first LHA id: kind, members of the error, whether two members of another alpha_s follow
    90400: (HESSIAN, 30, True),  # PDF4LHC15_nlo_30_pdfas
    91400: (HESSIAN, 30, True),  # PDF4LHC15_nnlo_30_pdfas
    260000: (REPLICAS, 100, False),  # NNPDF30_nlo_as_0118
    262000: (REPLICAS, 100, False),  # NNPDF30_lo_as_0130
    263000: (REPLICAS, 100, False),  # NNPDF30_lo_as_0118
    292000: (REPLICAS, 100, True),  # NNPDF30_nlo_nf_4_pdfas
    292200: (REPLICAS, 100, True),  # NNPDF30_nlo_nf_5_pdfas
    303600: (REPLICAS, 100, False),  # NNPDF31_nnlo_as_0118
    306000: (HESSIAN, 100, True),  # NNPDF31_nnlo_hessian_pdfas
    320900: (REPLICAS, 100, False),  # NNPDF31_nnlo_as_0118_nf_4
    325300: (HESSIAN, 100, True),  # NNPDF31_nnlo_as_0118_mc_hessian_pdfas
    325500: (HESSIAN, 100, False),  # NNPDF31_nnlo_as_0118_nf_4_mc_hessian
}
_TITLE = re.compile(r"LHA IDs (\d+) - (\d+)")


@dataclass(frozen=True)
class PDFSet:
    """A set of parton densities, and how its members give the error.

    Attributes
    ----------
    kind : {"hessian", "replicas"}
        Members along independent directions, whose differences to the central one are added in quadrature; or replicas,
        whose standard deviation is the error.
    members : int
        Number of members for the error.
    has_central : bool
        Whether the first entry is the central member. If not, its weight is 1.
    has_alpha_s : bool
        Whether the last two entries are of a smaller and a larger alpha_s.
    """

    kind: str
    members: int
    has_central: bool = True
    has_alpha_s: bool = False

    def __post_init__(self) -> None:
        if self.kind not in (HESSIAN, REPLICAS) or self.members < 2:
            raise InputError(
                f"A set of parton densities is {HESSIAN!r} or {REPLICAS!r} with 2 members or more, "
                f"not {self.kind!r} with {self.members}."
            )

    @classmethod
    def from_title(cls, title: str) -> PDFSet:
        """Return the set of a branch's title, such as ``"... for LHA IDs 91400 - 91432"``.

        Raises
        ------
        InputError
            The title names no LHA ids, or a set that the kit does not know: describe it with ``PDFSet(kind, members)``,
            from the set's page at LHAPDF.
        """
        found = _TITLE.search(title)
        if found is None:
            raise InputError(
                f"The title of LHEPdfWeight names no LHA ids: {title!r}. Describe the set with PDFSet(...)."
            )
        first, last = int(found[1]), int(found[2])
        base = first - first % 100
        if base not in _KINDS or first - base > 1:
            raise InputError(
                f"The parton densities with LHA ids {first} to {last} are not known to the kit. Look up whether the "
                f"set is Hessian or of replicas, and describe it: PDFSet('hessian', members={last - first})."
            )
        kind, members, has_alpha_s = _KINDS[base]
        stored = last - base
        if stored not in (members, members + 2) or (stored == members + 2 and not has_alpha_s):
            raise InputError(f"LHA ids {first} to {last} are not all members of the set {base}, which has {members}.")
        return cls(kind, members, first == base, stored == members + 2)

    def weight(self, weights: Any, *, sources: tuple[str, str] = ("pdf", "alpha_s")) -> Weight:
        """Return the variations of the parton densities, and of alpha_s where the set has it.

        With the central weight w0, the error of a Hessian set is ``sqrt(sum (w_i - w0)^2)``, that of replicas their
        standard deviation (J. Butterworth et al., J. Phys. G 43 (2016) 023001); the variation is 1
        plus and minus the error. alpha_s: 1 plus and minus half the difference of the last two members (up - down).

        Parameters
        ----------
        weights : array
            ``LHEPdfWeight``: a list per event.
        sources : two str
            Names of the systematic sources.

        Returns
        -------
        Weight
            Nominal 1; numpy arrays with one number per event.

        Raises
        ------
        InputError
            A weight is NaN or infinite, or an event has another number of weights than the set.
        """
        table = _matrix("LHEPdfWeight", weights)
        size, entries = table.shape
        expected = self.has_central + self.members + 2 * self.has_alpha_s
        if not size:
            table = np.ones((0, expected))
        elif entries != expected:
            raise InputError(f"LHEPdfWeight has {entries} entries per event, and the set of its title {expected}.")
        members = table[:, self.has_central : self.has_central + self.members]
        if self.kind == HESSIAN:
            central = table[:, :1] if self.has_central else 1.0
            error = np.sqrt(((members - central) ** 2).sum(axis=1))
        else:
            error = members.std(axis=1, ddof=1)
        varied = {sources[0]: Pair(1.0 + error, 1.0 - error)}
        if self.has_alpha_s:
            half = (table[:, -1] - table[:, -2]) / 2
            varied[sources[1]] = Pair(1.0 + half, 1.0 - half)
        return Weight(np.ones(size), varied)


def _matrix(name: str, weights: Any) -> Column:
    """Return lists of equal length as (event, entry), checked."""
    if isinstance(weights, np.ndarray) and weights.ndim == 2:
        return checked(name, "the weight", weights.ravel(), weights.size).reshape(weights.shape)
    offsets, flat = flat_list(weights, name)
    counts = np.diff(offsets)
    if not len(counts):
        return np.ones((0, 0))
    if (counts != counts[0]).any():
        raise InputError(
            f"{name} has {counts.min()} to {counts.max()} entries per event: all events of a sample have the same."
        )
    return checked(name, "the weight", flat, len(flat)).reshape(len(counts), int(counts[0]))
