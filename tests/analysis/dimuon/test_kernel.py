from __future__ import annotations

import awkward as ak
import numpy as np
import pyarrow as pa

from af_kit.analysis.dimuon import analyse, analyse_numba, empty, histograms, histograms_numba
from af_kit.analysis.dimuon.kernel import _loop, _mass_edges

MUON = 0.1056583745


def assert_equal(ours: pa.Table, theirs: pa.Table) -> None:
    assert ours.schema == theirs.schema
    for name in theirs.column_names:
        if pa.types.is_floating(theirs.schema.field(name).type):
            assert np.allclose(ours[name], theirs[name], rtol=1e-12, atol=0), name
        else:
            assert ours[name] == theirs[name], name


def test_both_engines_agree(events):
    expected, found = analyse(events), analyse_numba(events)
    assert found.keys() == expected.keys()
    assert found["mass"] == expected["mass"]
    assert found["multiplicity"] == expected["multiplicity"]
    assert expected["mass"].sum() > 5000
    assert_equal(found["candidates"], expected["candidates"])


def test_histograms_alone(events):
    assert (
        histograms_numba(events)
        == histograms(events)
        == {name: value for name, value in analyse(events).items() if name != "candidates"}
    )


def test_masked_and_sliced_events(events):
    """Masked events have offsets that do not start at 0, in a list that is not contiguous."""
    some = events[(events.event % 3 == 1) & (ak.num(events.Muon) > 0)]
    assert histograms_numba(some) == histograms(some)
    assert histograms_numba(events[1000:1500]) == histograms(events[1000:1500])


def test_boosted_pairs_agree(events_of):
    """Collinear muons of up to 1 TeV, for which E^2 - p^2 loses all digits."""
    generator = np.random.default_rng(3)
    muons = [
        [(pt, eta, phi, 1), (pt * share, eta + step, phi + turn, -1)]
        for pt, eta, phi, share, step, turn in zip(
            generator.uniform(10, 1000, 5000),
            generator.uniform(-2.4, 2.4, 5000),
            generator.uniform(-3, 3, 5000),
            generator.uniform(0.1, 1, 5000),
            generator.normal(0, 1e-3, 5000),
            generator.normal(0, 1e-3, 5000),
            strict=True,
        )
    ]
    events = events_of(muons)
    assert_equal(analyse_numba(events)["candidates"], analyse(events)["candidates"])


def test_no_events_and_no_candidates(events_of):
    for events in (events_of([]), events_of([[], [], [(5, 0, 0, 1)]])):
        assert histograms_numba(events) == histograms(events)
        assert_equal(analyse_numba(events)["candidates"], analyse(events)["candidates"])


def loop_over(masses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the kernel's masses and spectrum of pairs of muons at rest, each with half of a mass."""
    zeros = np.zeros(2 * len(masses))
    charge = np.tile(np.array([1, -1], dtype=np.int32), len(masses))
    offsets = 2 * np.arange(len(masses) + 1)
    multiplicity, spectrum = (empty()[name].view(flow=True) for name in ("multiplicity", "mass"))
    muons = (zeros, zeros, zeros, np.repeat(masses / 2, 2), charge)
    *_, found = _loop(offsets, *muons, _mass_edges(), multiplicity, spectrum)
    return found, spectrum


def test_the_bins_are_those_of_hist_on_every_edge_and_next_to_it():
    edges = empty()["mass"].axes[0].edges
    near = [edges]
    for _ in range(6):
        near = [np.nextafter(near[0], 0), *near, np.nextafter(near[-1], np.inf)]
    masses, spectrum = loop_over(np.concatenate([*near, [0.0, 0.1, 0.2, 200, 201, 1e100, np.inf, np.nan]]))
    assert np.isin(edges, masses).mean() > 0.95
    assert np.isin([0.1, 0.2, 200, 201], masses).all()
    assert np.isnan(masses).any()
    expected = empty()["mass"].fill(masses).view(flow=True)
    assert expected[0] > 0
    assert expected[-1] > 0
    assert np.array_equal(spectrum, expected)


def test_the_bins_are_those_of_hist_between_the_edges():
    masses, spectrum = loop_over(np.exp(np.random.default_rng(1).uniform(np.log(0.1), np.log(400), 200_000)))
    assert np.array_equal(spectrum, empty()["mass"].fill(masses).view(flow=True))
