"""The systematic variations of objects: the muons' momentum scale, the jets' energy scale and resolution."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DIRECTIONS", "MUON_SCALE", "NOMINAL", "Variation", "label_of", "object_variations"]

NOMINAL = "nominal"
MUON_SCALE = "muon_scale"
DIRECTIONS = ("up", "down")


class Variation(NamedTuple):
    """One source of uncertainty, moved by one standard deviation in one direction."""

    source: str
    direction: str

    @property
    def label(self) -> str:
        """The name on a histogram's variation axis."""
        return label_of(self.source, self.direction)


def label_of(source: str, direction: str) -> str:
    """Return the name of a variation on a histogram's axis: ``"pileup_up"``. Nothing ever takes it apart again."""
    return f"{source}_{direction}"


def object_variations(jet_sources: tuple[str, ...], *, muon_scale: bool) -> list[Variation]:
    """Return the variations that change momenta, and so the selection.

    Parameters
    ----------
    jet_sources
        The sources that vary the jets (see `JetEnergies.sources`).
    muon_scale
        Whether the muons' momentum scale has an uncertainty.
    """
    sources = (*((MUON_SCALE,) if muon_scale else ()), *jet_sources)
    return [Variation(source, direction) for source in sources for direction in DIRECTIONS]
