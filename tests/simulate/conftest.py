"""Read simulated files and compare them."""

import awkward as ak
import numpy as np
import pytest
import uproot
import vector


@pytest.fixture(scope="session")
def events():
    """``events(path)`` reads all events of a tree ``Events``."""

    def read(path):
        with uproot.open(path) as file:
            return file["Events"].arrays()

    return read


@pytest.fixture(scope="session")
def same():
    """``same(left, right)``: equal to the bit, types included."""

    def equal(left, right):
        return left.fields == right.fields and all(
            ak.array_equal(left[name], right[name], dtype_exact=True, equal_nan=True) for name in left.fields
        )

    return equal


@pytest.fixture(scope="session")
def masses():
    """``masses(sample)``: masses of events with exactly two muons, of opposite or of equal charge."""

    def of_pairs(sample, *, opposite=True):
        two = sample[sample.nMuon == 2]
        two = two[(ak.sum(two.Muon_charge, axis=1) == 0) == opposite]
        names = ("pt", "eta", "phi", "mass")
        pair = [
            vector.array({name: np.asarray(two[f"Muon_{name}"][:, i], np.float64) for name in names}) for i in (0, 1)
        ]
        return (pair[0] + pair[1]).mass

    return of_pairs
