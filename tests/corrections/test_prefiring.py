"""L1 pre-firing: the weights of the file, up and down in their places."""

from __future__ import annotations

import numpy as np
import pytest

from af_kit.corrections.prefiring import prefiring
from af_kit.errors import InputError


def test_the_weights_of_the_file() -> None:
    found = prefiring(np.array([0.98, 1.0], dtype=np.float32), np.array([0.99, 1.0]), np.array([0.97, 1.0]))
    assert found.nominal.tolist() == pytest.approx([0.98, 1.0])
    assert found.variations["l1prefiring"].up.tolist() == [0.99, 1.0]
    assert found.variations["l1prefiring"].down.tolist() == [0.97, 1.0]


def test_nan_is_refused() -> None:
    with pytest.raises(InputError, match="down is nan for 1 of 1"):
        prefiring(np.ones(1), np.ones(1), np.array([np.nan]))
