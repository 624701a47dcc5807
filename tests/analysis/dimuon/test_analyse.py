from __future__ import annotations

import numpy as np
from hist import Hist

from af_kit.analysis.dimuon import empty, fill, histograms, select


def test_multiplicity_counts_all_events(events_of):
    muon = (20, 0.1, 0.2, 1)
    events = events_of([[muon] * n for n in (0, 1, 1, 2, 5, 6, 9)])
    counts = fill(events, select(events))["multiplicity"].values(flow=True)
    assert counts.tolist() == [0, 1, 2, 1, 0, 0, 1, 2]  # underflow first, six and more last


def test_the_axes(events):
    result = histograms(events)
    assert result.keys() == empty().keys() == {"multiplicity", "mass"}
    assert np.array_equal(result["multiplicity"].axes[0].edges, np.arange(7))
    assert np.array_equal(result["mass"].axes["mass"].edges, Hist.new.Log(1000, 0.2, 200).Int64().axes[0].edges)
    assert result["multiplicity"].sum(flow=True) == len(events)
    assert result["mass"].sum(flow=True) == len(select(events))


def test_the_resonances_are_at_their_masses(events):
    mass = histograms(events)["mass"]

    def density(low: float, high: float) -> float:
        return mass[complex(0, low) : complex(0, high) : sum].real / (high - low)

    assert density(3.0, 3.2) > 5 * density(3.3, 3.5)
    assert density(86, 96) > 5 * density(70, 80)
