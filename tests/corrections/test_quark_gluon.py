"""Weights for the quark-gluon likelihood."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from af_kit.corrections.quark_gluon import quark_gluon_weight
from af_kit.errors import InputError


def _light(q: float) -> float:
    return -0.666978 * q**3 + 0.929524 * q**2 - 0.255505 * q + 0.981581


def _gluon(q: float) -> float:
    powers = (-55.7067, 113.218, -21.1421, -99.927, 92.8668, -34.3663, 6.27, 0.612992)
    return sum(value * q ** (7 - at) for at, value in enumerate(powers))


def _herwig_light(q: float) -> float:
    return 1.16636 * q**3 - 2.45101 * q**2 + 1.86096 * q + 0.596896


@pytest.mark.parametrize(
    ("flavours", "qgl", "eta", "expected"),
    [
        ([1, 21], [0.7, 0.3], [0.5, -1.5], _light(0.7) * _gluon(0.3)),
        ([-3, 21, 1], [0.2, 0.9, 0.5], [0.5, 1.5, 0.0], _light(0.2) * _gluon(0.9)),  # the third jet does not count
        ([0, 4], [0.7, 0.3], [0.5, 1.5], 1.0),  # unknown, and charm
        ([5, 21], [0.7, 0.3], [0.5, 2.0], 1.0),  # b, and |eta| not below 2
        ([1, 1], [0.0, -1.0], [0.5, 0.5], 1.0),
        ([1], [0.7], [0.5], 1.0),
        ([], [], [], 1.0),
    ],
)
def test_the_product_of_the_two_leading_jets(flavours: list, qgl: list, eta: list, expected: float) -> None:
    lists = [ak.Array([values, [1, 2, 3][: len(values)]])[:1] for values in (flavours, qgl, eta)]
    weight = quark_gluon_weight(*lists)
    assert weight.nominal == pytest.approx([expected], rel=1e-12)
    assert weight.variations["qgl"].up == pytest.approx([expected**2], rel=1e-12)
    assert weight.variations["qgl"].down.tolist() == [1.0]


def test_events_one_after_another_and_flat_values_with_counts() -> None:
    flavours, qgl, eta = ak.Array([[1, 1], [], [21], [21, 2, 0]]), ak.Array([[0.5] * 2, [], [0.5], [0.5] * 3]), None
    eta = ak.zeros_like(qgl)
    expected = [_light(0.5) ** 2, 1.0, 1.0, _gluon(0.5) * _light(0.5)]
    assert quark_gluon_weight(flavours, qgl, eta).nominal == pytest.approx(expected)
    flat = [ak.to_numpy(ak.flatten(values)) for values in (flavours, qgl, eta)]
    assert quark_gluon_weight(*flat, counts=[2, 0, 1, 3]).nominal == pytest.approx(expected)


def test_herwig_has_polynomials_of_its_own() -> None:
    two = ak.Array([[1, 1]])
    weight = quark_gluon_weight(two, two * 0.4, two * 0.0, shower="herwig")
    assert weight.nominal == pytest.approx([_herwig_light(0.4) ** 2])
    gluons = quark_gluon_weight(two * 21, two * 0.5, two * 0.0, shower="herwig").nominal
    powers = (-63.2397, 111.455, -16.7487, -72.8429, 56.7714, -19.2979, 3.41825, 0.919838)
    assert gluons == pytest.approx([sum(value * 0.5 ** (7 - at) for at, value in enumerate(powers)) ** 2])


def test_a_weight_that_is_changed_in_place_changes_no_other() -> None:
    two = ak.Array([[1, 1]])
    weight = quark_gluon_weight(two, two * 0.4, two * 0.0)
    before = float(weight.variations["qgl"].up[0])
    weight.nominal[:] = 7.0
    weight.variations["qgl"].down[:] = 8.0
    assert weight.variations["qgl"].up.tolist() == [before]


def test_an_unknown_shower_is_refused() -> None:
    with pytest.raises(InputError, match=r"shower 'pythia8'.*Did you mean 'pythia'"):
        quark_gluon_weight(np.ones(2), np.ones(2), np.ones(2), shower="pythia8", counts=[2])
