"""The options that all backends share."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from af_kit.cluster.request import check, seconds
from af_kit.errors import InputError


@pytest.mark.parametrize(
    ("walltime", "length"),
    [
        ("2h", 7200),
        ("90 minutes", 5400),
        ("02:00:00", 7200),
        ("1-12:00:00", 129_600),
        ("00:00:30", 30),
        (3600, 3600),
        ("3600", 3600),
        (timedelta(hours=1), 3600),
    ],
)
def test_time_limits(walltime: Any, length: int):
    assert seconds(walltime) == length
    assert check(walltime=walltime).walltime_s == length


@pytest.mark.parametrize("walltime", ["02:00", "soon", "", 0, -5, True, [1], "1-2"])
def test_invalid_time_limits(walltime: Any):
    with pytest.raises(InputError, match="give a time limit such as '2h'"):
        seconds(walltime)
