"""The histograms: which there are, and how they are filled for many variations at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from hist import Hist
from numpy.typing import NDArray

from af_kit.analysis.hmumu.regions import CHANNELS, REGIONS
from af_kit.errors import InputError, nearest

__all__ = ["ALL", "SCORE", "SPLIT_BY_JETS", "SPLIT_CHANNELS", "VARIED", "check_names", "filled", "matched"]

_SPLIT = "tth_or_vh"
SPLIT_CHANNELS = (*CHANNELS[:-1], f"{_SPLIT}: fewer than two jets", f"{_SPLIT}: two jets or more")
"""The channels while histograms are filled. The quark/gluon weights are normalised in events with two jets only, after
the merge, so these must still be apart there."""


class _Axis(NamedTuple):
    bins: int
    low: float
    high: float
    label: str


_AXES = {
    "dimuon_mass": _Axis(160, 70, 150, r"$m(\mu\mu)$ [GeV]"),
    "dimuon_pt": _Axis(100, 0, 200, r"$p_T(\mu\mu)$ [GeV]"),
    "dimuon_rapidity": _Axis(50, -2.5, 2.5, r"$y(\mu\mu)$"),
    "cos_theta_cs": _Axis(40, -1, 1, r"$\cos\theta_{CS}$"),
    "phi_cs": _Axis(40, -np.pi, np.pi, r"$\phi_{CS}$"),
    "mu1_pt": _Axis(80, 20, 180, r"$p_T(\mu_1)$ [GeV]"),
    "mu2_pt": _Axis(80, 20, 180, r"$p_T(\mu_2)$ [GeV]"),
    "mu1_eta": _Axis(48, -2.4, 2.4, r"$\eta(\mu_1)$"),
    "mu2_eta": _Axis(48, -2.4, 2.4, r"$\eta(\mu_2)$"),
    "n_jets": _Axis(8, 0, 8, "Number of jets"),
    "jet1_pt": _Axis(60, 25, 325, r"$p_T(j_1)$ [GeV]"),
    "jet2_pt": _Axis(60, 25, 325, r"$p_T(j_2)$ [GeV]"),
    "jet1_eta": _Axis(47, -4.7, 4.7, r"$\eta(j_1)$"),
    "jet2_eta": _Axis(47, -4.7, 4.7, r"$\eta(j_2)$"),
    "dijet_mass": _Axis(60, 0, 3000, "$m(jj)$ [GeV]"),
    "dijet_delta_eta": _Axis(45, 0, 9, r"$|\Delta\eta(jj)|$"),
    "zeppenfeld": _Axis(40, -2, 2, "$z^*$"),
    "pt_balance": _Axis(40, 0, 1, "$R(p_T)$"),
    "min_delta_eta": _Axis(40, 0, 8, r"min $|\Delta\eta(\mu\mu, j)|$"),
    "soft_jets_5": _Axis(10, 0, 10, "Soft jets above 5 GeV"),
    "soft_ht_2": _Axis(50, 0, 200, "$H_T$ of soft jets above 2 GeV [GeV]"),
    "n_vertices": _Axis(80, 0, 80, "Good primary vertices"),
}

ALL = tuple(_AXES)
"""Names of all histograms."""

SCORE = "dnn_score"
"""The histogram of the score, for events with two jets; only with a network, in the bins of the campaign."""

SPLIT_BY_JETS = ("dy",)
"""The processes whose varied histograms are filled twice: with all events, and (see `matched`) with those whose two
leading jets both have a generator jet. Jets of pile-up are simulated less well, so a fit treats them apart."""

VARIED = ("dimuon_mass", "dijet_mass")
"""The histograms that have the systematic variations unless the caller says otherwise."""


def matched(name: str) -> str:
    """Return the name of the histogram of events whose two leading jets both have a generator jet."""
    return f"{name}_matched"


def check_names(names: Any, *, scored: bool = False) -> tuple[str, ...]:
    """Return the names of histograms as a tuple, each once; an InputError for an unknown one.

    If events are ``scored``, `SCORE` is among them.
    """
    names = [*names, SCORE] if scored else list(names)
    for name in names:
        if name == SCORE and scored:
            continue
        if name == SCORE:
            raise InputError(f"The histogram {SCORE!r} needs a network: network=FOLDER (--network FOLDER).")
        if name not in _AXES:
            raise InputError(f"There is no histogram {name!r}.{nearest(str(name), _AXES)}")
    return tuple(dict.fromkeys(names))


def empty(name: str, variations: list[str], *, score_bins: Sequence[float] | None = None) -> Hist:
    """Return an empty histogram with axes ``region``, ``channel``, ``variation`` and the variable."""
    categories = (
        Hist.new.StrCat(list(REGIONS), name="region", label="Region")
        .StrCat(list(SPLIT_CHANNELS), name="channel", label="Channel")
        .StrCat(variations, name="variation", label="Variation")
    )
    if name == SCORE:
        return categories.Var(score_bins, name=name, label="arctanh(DNN output)").Weight()
    axis = _AXES[name]
    return categories.Reg(axis.bins, axis.low, axis.high, name=name, label=axis.label).Weight()


def filled(
    name: str,
    variations: list[str],
    passes: Mapping[str, tuple[Any, Any, Any, Any]],
    *,
    score_bins: Sequence[float] | None = None,
) -> Hist:
    """Return a histogram, filled once for each variation.

    Parameters
    ----------
    variations
        The labels of its variation axis.
    passes
        For each label ``(region, channel, values, weights)``, one value per event: the numbers of region and channel
        (in `SPLIT_CHANNELS`). Labels may share arrays: the bins of each are looked up once. An event whose value is NaN
        does not have this variable, and is not filled.
    score_bins
        The edges of the bins of `SCORE`. Its last bin takes also what is above it.
    """
    histogram = empty(name, variations, score_bins=score_bins)
    axis = histogram.axes[name]
    view = histogram.view(flow=True)
    shape = view.shape
    bins: dict[tuple[int, int, int], tuple[NDArray[np.bool_], NDArray[np.int64]]] = {}
    for label in variations:
        region, channel, values, weights = passes[label]
        key = id(region), id(channel), id(values)
        if key not in bins:
            has = ~np.isnan(values)
            inner = axis.index(values[has]) + 1
            if name == SCORE:
                inner = np.minimum(inner, axis.size)
            bins[key] = has, (region[has].astype(np.int64) * shape[1] + channel[has]) * shape[3] + inner
        has, index = bins[key]
        column, weight = variations.index(label), weights[has]
        size = shape[0] * shape[1] * shape[3]
        for field, amounts in (("value", weight), ("variance", weight * weight)):
            sums = np.bincount(index, weights=amounts, minlength=size)
            view[field][:, :, column, :] = sums.reshape(shape[0], shape[1], shape[3])
    return histogram


def split_channel(channel: NDArray[np.int8], n_jets: Any) -> NDArray[np.int64]:
    """Return the number of each event's channel in `SPLIT_CHANNELS`."""
    split = channel.astype(np.int64)
    last = len(CHANNELS) - 1
    return np.where(channel == last, last + (np.asarray(n_jets) >= 2), split)
