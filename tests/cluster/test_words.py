"""Words that clusters share: time limits; the environments of session and workers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import dask.config
import pytest

from af_kit.cluster import environment_diff
from af_kit.cluster.request import check, seconds
from af_kit.cluster.workers.environment import exported
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
def test_what_is_no_time_limit(walltime: Any):
    with pytest.raises(InputError, match="give a time limit such as '2h'"):
        seconds(walltime)


def test_a_jobs_script_sets_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("X509_CERT_DIR", "/etc/grid security")
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    with dask.config.set({"af_kit.cluster.environment.KIT_LANG": "C"}):
        lines = exported({"MALLOC_ARENA_MAX": None, "MINE": "it's"})
    assert "export X509_CERT_DIR='/etc/grid security'" in lines
    assert "export MALLOC_MMAP_THRESHOLD_=33554432" in lines
    assert "export OMP_NUM_THREADS=4" in lines  # the user's comes before the kit's
    assert "unset MALLOC_ARENA_MAX" in lines
    assert "export KIT_LANG=C" in lines
    assert """export MINE='it'"'"'s'""" in lines


def test_environments_are_compared():
    here = {"numpy": "2.1", "hist": "2.9", "mine": "1.0"}
    assert environment_diff.compare(here, {"a": here, "b": {**here, "more": "1"}}) == []
    assert environment_diff.compare(here, {"a": here, "b": {"numpy": "2.2", "hist": "2.9"}}) == [
        "not on all workers: mine",
        "other versions: numpy 2.1 here, 2.2 there",
    ]
    many = {f"p{number:02}": "1" for number in range(20)}
    (line,) = environment_diff.compare(many, {"a": {}})
    assert line.endswith("p07 and 12 more")
    assert "numpy" in environment_diff.installed()


class Elsewhere:
    """A client whose workers have another environment."""

    def __init__(self, place: environment_diff.Surroundings, packages: dict[str, str]) -> None:
        self._answers = {environment_diff.here: place, environment_diff.installed: packages}

    def run(self, function: Any, **how: Any) -> dict[str, Any]:
        return {"tcp://worker": self._answers[function]}


def test_another_folder_with_the_same_packages_is_fine():
    place = environment_diff.Surroundings("/opt/conda", "hub/image:1")
    mine = environment_diff.installed()
    assert environment_diff.differences(Elsewhere(place, mine)) == []
    first, second = environment_diff.differences(Elsewhere(place, {**mine, "numpy": "0.1"}))
    assert "/opt/conda in hub/image:1 on 1 of 1 workers" in first
    assert second.startswith("other versions: numpy")
    assert environment_diff.differences(Elsewhere(environment_diff.here(), {})) == []
