"""Decays and masses."""

import numpy as np
import pytest
import vector
from hypothesis import given
from hypothesis import strategies as st

from af_kit.simulate.kinematics import MUON_MASS, breit_wigner, decay


@given(
    st.floats(0.22, 500),
    st.floats(0.1, 300),
    st.floats(-2.4, 2.4),
    st.floats(-3, 3),
    st.floats(-1, 1),
    st.floats(-3, 3),
)
def test_a_decay_conserves_energy_and_momentum(mass, pt, rapidity, phi, cos_theta, azimuth):
    parent = (np.array([value]) for value in (mass, pt, rapidity, phi, cos_theta, azimuth))
    pair = [vector.array({**muons._asdict(), "mass": np.full(1, MUON_MASS)}) for muons in decay(*parent)]
    total = pair[0] + pair[1]
    assert total.mass[0] == pytest.approx(mass, rel=1e-6)
    assert total.pt[0] == pytest.approx(pt, rel=1e-6)
    assert total.rapidity[0] == pytest.approx(rapidity, rel=1e-6, abs=1e-6)
    assert total.deltaphi(vector.obj(x=np.cos(phi), y=np.sin(phi)))[0] == pytest.approx(0, abs=1e-6)


def test_a_breit_wigner_has_its_width():
    mass = breit_wigner(np.linspace(0, 1, 100_001), 91.188, 2.4955, 40, 250)
    assert mass.min() == pytest.approx(40)
    assert mass.max() == pytest.approx(250)
    low, high = np.quantile(mass, [0.25, 0.75])  # half of it lies within the full width at half maximum
    assert high - low == pytest.approx(2.4955, rel=0.06)
