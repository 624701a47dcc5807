"""The environment variables that worker processes start with."""

from __future__ import annotations

import os
import subprocess
import sys

import dask.config
import pytest

from af_kit import config
from af_kit.cluster.workers import environment
from af_kit.cluster.workers.environment import initial_environment, slow_allocator, worker_environment

TRIM, MAPPED = "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch):
    """No variable is set by the user, or by an earlier nanny of this process."""
    for name in config.get("cluster.environment"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(environment, "_set_by_nannies", {})


def test_defaults():
    variables = worker_environment()
    assert variables[MAPPED] == "33554432"
    assert variables[TRIM] == "536870912"
    assert variables["OMP_NUM_THREADS"] == "1"


def test_what_the_user_exported_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(TRIM, "1000000")
    assert TRIM not in worker_environment()


def test_what_dask_put_into_this_process_does_not_count_as_the_users(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(TRIM, "65536")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert worker_environment()[TRIM] == "536870912"
    # ... nor does what this kit's nannies set for an earlier cluster
    monkeypatch.setenv(TRIM, "536870912")
    with dask.config.set({f"af_kit.cluster.environment.{TRIM}": 1}):
        assert worker_environment()[TRIM] == "1"


def test_what_the_site_configured_for_dask_stays():
    with dask.config.set({"distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS": 4}):
        variables = worker_environment()
    assert "OMP_NUM_THREADS" not in variables
    assert TRIM in variables


def test_null_removes():
    with dask.config.set({f"af_kit.cluster.environment.{TRIM}": None}):
        assert worker_environment()[TRIM] is None


def test_an_argument_comes_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(TRIM, "1000000")
    variables = worker_environment({TRIM: 5, "X509_CERT_DIR": "/certificates", "OMP_NUM_THREADS": None})
    assert variables[TRIM] == "5"
    assert variables["X509_CERT_DIR"] == "/certificates"
    assert variables["OMP_NUM_THREADS"] is None


@pytest.mark.parametrize(
    ("variables", "slow"),
    [
        ({}, False),  # glibc adapts by itself
        ({TRIM: "65536"}, True),  # as Dask starts its workers
        ({TRIM: "536870912"}, True),  # fixes the other threshold too
        ({TRIM: "536870912", MAPPED: "33554432"}, False),
        ({MAPPED: "131072"}, True),
        ({TRIM: "65536", "LD_PRELOAD": "/usr/lib/libjemalloc.so.2"}, False),
    ],
)
def test_slow_allocators(variables: dict[str, str], slow: bool):
    assert slow_allocator(variables) is slow


def test_the_environment_at_the_start_of_the_process():
    code = (
        "import os; os.environ['SET_LATER'] = '1'\n"
        "from af_kit.cluster.workers.environment import initial_environment as initial\n"
        "print('SET_LATER' in initial(), initial()['SET_BEFORE'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SET_BEFORE": "a=b"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False a=b\n"
    assert "PATH" in initial_environment()


def test_a_jobs_script_sets_the_environment(monkeypatch: pytest.MonkeyPatch):
    from af_kit.cluster.workers.environment import exported

    monkeypatch.setenv("X509_CERT_DIR", "/etc/grid security")
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    with dask.config.set({"af_kit.cluster.environment.KIT_LANG": "C"}):
        lines = exported({"MALLOC_ARENA_MAX": None, "MINE": "it's"})
    assert "export X509_CERT_DIR='/etc/grid security'" in lines
    assert "export MALLOC_MMAP_THRESHOLD_=33554432" in lines
    assert "export OMP_NUM_THREADS=4" in lines  # the user's value takes precedence
    assert "unset MALLOC_ARENA_MAX" in lines
    assert "export KIT_LANG=C" in lines
    assert """export MINE='it'"'"'s'""" in lines
