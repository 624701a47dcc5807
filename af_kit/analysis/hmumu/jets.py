"""Select jets: one compiled loop, because each variation of the jets' energy runs it again."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from af_kit.analysis.hmumu.campaign import BTag, Campaign
from af_kit.analysis.hmumu.columns import Collection
from af_kit.corrections import jet_id
from af_kit.data.jit import jit

__all__ = ["Candidates", "Selected", "candidates", "select"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Candidates(NamedTuple):
    """What does not depend on the jets' energy: one value per jet."""

    passed: NDArray[np.bool_]
    """|eta|, identification and quark/gluon likelihood."""
    always: NDArray[np.bool_]
    """Whether the jet passes the pile-up identification."""
    exempt: NDArray[np.bool_]
    """Whether the jet is exempt from the pile-up identification above the campaign's pt."""
    exempt_pt: float
    n_loose: NDArray[np.bool_]
    n_medium: NDArray[np.bool_]


class Selected(NamedTuple):
    """The selected jets of each event."""

    n: Ints
    """Number of jets."""
    first: Ints
    second: Ints
    """Position of the two leading jets in the flat columns; -1 if there is none. Ties keep the order of the file."""
    n_loose: Ints
    n_medium: Ints
    """Number of jets that pass the b-tag working points."""
    mask: NDArray[np.bool_]
    """One value per jet: whether it is selected."""
    cleaned: NDArray[np.bool_]
    """One value per jet: whether it passes everything but the pile-up identification."""


def candidates(jets: Collection, campaign: Campaign) -> Candidates:
    """Apply the cuts that do not depend on the jets' energy.

    Jets must have |eta| < 4.7, pass the identification and, in Run 2, have a quark/gluon likelihood above -2.
    """
    cuts, eta = campaign.jets, np.abs(jets["eta"])
    passed = eta < cuts.max_abs_eta
    if cuts.jet_id is None:
        passed &= jet_id.tight_jet_id_2022(_Fractions(jets))
    else:
        passed &= jets[cuts.jet_id.branch.removeprefix("Jet_")] >= cuts.jet_id.at_least
    if cuts.min_qgl is not None:
        passed &= jets["qgl"] > cuts.min_qgl
    always, exempt, exempt_pt = np.ones(len(jets), np.bool_), np.zeros(len(jets), np.bool_), np.inf
    if cuts.pileup_id is not None:
        rule = cuts.pileup_id
        bits = jets[rule.branch.removeprefix("Jet_")]
        always, exempt, exempt_pt = bits >= rule.at_least, np.ones(len(jets), np.bool_), rule.below_pt
        if rule.tight is not None:
            low, high = rule.tight.abs_eta
            inside = (eta > low) & (eta < high)
            always = np.where(inside, bits >= rule.tight.at_least, always)
            exempt = ~inside
    return Candidates(passed, always, exempt, exempt_pt, *_tags(jets, campaign.btag))


class _Fractions:
    """The jets' columns as attributes, as the jet identification takes them."""

    def __init__(self, jets: Collection) -> None:
        self._jets = jets

    def __getattr__(self, name: str) -> NDArray[Any]:
        return self._jets[name]


def _tags(jets: Collection, btag: BTag) -> list[NDArray[np.bool_]]:
    central = np.abs(jets["eta"]) < btag.max_abs_eta
    score = jets[btag.branch.removeprefix("Jet_")]
    return [central & (score > point) for point in (btag.loose, btag.medium)]


def select(jets: Collection, pt: Floats, known: Candidates, campaign: Campaign, muons: tuple[Ints, Ints]) -> Selected:
    """Select the jets of each event.

    Parameters
    ----------
    jets
        The jets of the events.
    pt
        Their transverse momenta: nominal, or of a variation [GeV].
    known
        From `candidates`.
    muons
        For each event the index in the file of its two selected muons. A jet that refers to one of them
        (``Jet_muonIdx1``, ``Jet_muonIdx2``) is that muon, and is not selected.
    """
    matches = jets["muonIdx1"].astype(np.int64), jets["muonIdx2"].astype(np.int64)
    return Selected(
        *_loop(
            jets.offsets, pt, campaign.jets.min_pt, known.passed, known.always, known.exempt, known.exempt_pt,
            known.n_loose, known.n_medium, *matches, *muons,
        )
    )  # fmt: skip


@jit
def _loop(  # type: ignore[no-untyped-def]
    offsets, pt, min_pt, passed, always, exempt, exempt_pt, loose, medium, match1, match2, muon1, muon2
):
    events = offsets.size - 1
    n, n_loose, n_medium = np.zeros(events, np.int64), np.zeros(events, np.int64), np.zeros(events, np.int64)
    first, second = np.full(events, -1, np.int64), np.full(events, -1, np.int64)
    mask, cleaned = np.zeros(pt.size, np.bool_), np.zeros(pt.size, np.bool_)
    for event in range(events):
        a = b = -1
        for i in range(offsets[event], offsets[event + 1]):
            if not passed[i] or not pt[i] > min_pt:
                continue
            m, k = muon1[event], muon2[event]
            if (match1[i] >= 0 and (match1[i] == m or match1[i] == k)) or (
                match2[i] >= 0 and (match2[i] == m or match2[i] == k)
            ):
                continue
            cleaned[i] = True
            if not always[i] and not (exempt[i] and pt[i] > exempt_pt):
                continue
            mask[i] = True
            n[event] += 1
            n_loose[event] += loose[i]
            n_medium[event] += medium[i]
            if a < 0 or pt[i] > pt[a]:
                a, b = i, a
            elif b < 0 or pt[i] > pt[b]:
                b = i
        first[event], second[event] = a, b
    return n, first, second, n_loose, n_medium, mask, cleaned
