from __future__ import annotations

import numpy as np
import pytest
import vector
from hypothesis import given
from hypothesis import strategies as st

from af_kit.analysis.dimuon import pair_mass, select

MUON = 0.1056583745


def test_only_two_muons_of_opposite_charge(events_of):
    plus, minus, third = (20, 0.1, 0.2, 1), (15, -0.3, 2.0, -1), (5, 1.0, -1.0, -1)
    events = events_of([[], [plus], [plus, minus], [plus, plus], [minus, minus], [plus, minus, third], [minus, plus]])
    candidates = select(events)
    assert candidates.index.to_list() == [2, 6]
    assert candidates.first.charge.to_list() == [1, -1]
    assert candidates.second.pt.to_list() == [15, 20]
    assert candidates.mass[0] == candidates.mass[1]


def test_no_events_and_no_candidates(events_of):
    assert len(select(events_of([]))) == 0
    assert len(select(events_of([[], []]))) == 0


def test_the_mass_is_that_of_the_four_vectors(events):
    candidates = select(events)
    assert len(candidates) > 5000
    expected = (candidates.first + candidates.second).mass
    assert np.allclose(candidates.mass, expected, rtol=1e-9, atol=0)


def test_a_z_boson_at_rest(events_of):
    momentum = np.sqrt((91.1876 / 2) ** 2 - MUON**2)
    (mass,) = select(events_of([[(momentum, 0, 0, 1), (momentum, 0, np.pi, -1)]])).mass
    assert mass == pytest.approx(91.1876, rel=1e-7)  # the branches are in single precision


def decay(mass: float, pt: float, eta: float, number: int) -> list[dict[str, np.ndarray]]:
    """Return the two muons of particles of one mass and momentum, in single precision as in a file."""
    generator = np.random.default_rng(1)
    momentum, cosine = np.sqrt(mass**2 / 4 - MUON**2), generator.uniform(-1, 1, number)
    sine, phi = np.sqrt(1 - cosine**2), generator.uniform(-np.pi, np.pi, number)
    x, y, z = momentum * sine * np.cos(phi), momentum * sine * np.sin(phi), momentum * cosine
    mother = vector.array(
        {"pt": np.full(number, pt), "eta": np.full(number, eta), "phi": phi[::-1], "mass": np.full(number, mass)}
    )
    muons = [
        vector.array({"px": s * x, "py": s * y, "pz": s * z, "mass": np.full(number, MUON)}).boost_p4(mother)
        for s in (1, -1)
    ]
    return [{name: getattr(muon, name).astype(np.float32) for name in ("pt", "eta", "phi", "mass")} for muon in muons]


def test_pair_mass_is_precise_where_energy_minus_momentum_is_not():
    """The figures in the docstring of pair_mass: an omega meson of pt 50 GeV at eta 2."""
    first, second = decay(0.783, 50.0, 2.0, 20_000)
    exact = pair_mass(*({k: v.astype(np.longdouble) for k, v in muon.items()} for muon in (first, second)))

    in_double = pair_mass(*({k: v.astype(np.float64) for k, v in muon.items()} for muon in (first, second)))
    assert np.max(np.abs(in_double / exact - 1)) < 1e-14

    naive = (vector.array(first) + vector.array(second)).mass
    assert naive.dtype == np.float32
    error = np.abs(naive / exact - 1)
    assert 0.002 < np.median(error) < 0.004
    assert 0.015 < np.quantile(error, 0.999) < 0.025
    # The largest error depends on the processor, because numpy selects single-precision sin, cos, sinh and cosh by its
    # instruction set, and their last digits differ: 0.0257 with AVX2, 0.0224 without. Each function is accurate to 4
    # units in the last place (8 * 2**-24 relative) and the operations after it to 3 * 2**-24, so that E^2 and p^2 each
    # deviate by less than 22 * 2**-24 of E^2, and the mass by half of the sum over m^2.
    assert 0.015 < np.max(error) < 44 * 2**-24 * (50 * np.cosh(2)) ** 2 / (2 * 0.783**2)


positive = st.floats(0.5, 3000)
angle = st.floats(-np.pi, np.pi)


@given(positive, positive, st.floats(-3, 3), st.floats(-3, 3), angle, angle)
def test_the_mass_does_not_depend_on_the_order(pt1, pt2, eta1, eta2, phi1, phi2):
    first = {"pt": pt1, "eta": eta1, "phi": phi1, "mass": MUON}
    second = {"pt": pt2, "eta": eta2, "phi": phi2, "mass": MUON}
    assert pair_mass(first, second) == pair_mass(second, first) >= 2 * MUON * (1 - 1e-15)
