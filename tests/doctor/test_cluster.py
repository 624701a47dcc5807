"""Checks of the client's cluster."""

from __future__ import annotations

import os
import subprocess
import sys

import dask
import pytest
from doctor_tools import of

import af_kit as af
from af_kit.errors import InputError


def test_a_good_cluster(client):
    with dask.config.set({"af_kit.doctor.check_s": 60}):  # on a busy machine
        found = af.doctor(client)
    ours = {finding.check: finding.state for finding in found.findings if finding.group == "the cluster"}
    assert ours == dict.fromkeys(
        ["client", "versions", "interpreter", "image", "environment", "allocator", "workers' disk", "workers' memory",
         "dashboard", "sent to the workers"], "ok",
    )  # fmt: skip


def test_a_worker_with_other_settings(client):
    environment = {**os.environ, "JUPYTER_IMAGE_SPEC": "site/old:1", "MALLOC_TRIM_THRESHOLD_": "65536"}
    environment.pop("MALLOC_MMAP_THRESHOLD_", None)
    command = [sys.executable, "-m", "distributed.cli.dask_worker", client.scheduler.address, "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--nthreads", "1", "--no-dashboard", "--no-nanny", "--memory-limit", "0"],
        env=environment, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        client.wait_for_workers(2, timeout=60)
        with dask.config.set({"af_kit.doctor.check_s": 60}):  # on a busy machine
            found = {f.check: f for f in af.doctor(client).findings if f.group == "the cluster"}
    finally:
        process.terminate()
        process.wait(30)
    assert "site/old:1" in found["image"].seen
    assert "MALLOC_MMAP_THRESHOLD_" in found["environment"].seen
    assert "1 of 2 workers" in found["allocator"].seen
    assert "MALLOC_MMAP_THRESHOLD_=" in found["allocator"].advice
    assert "1 of 2 workers have no limit" in found["workers' memory"].seen
    assert found["versions"].state == "ok"


def test_a_closed_client_and_an_object_that_is_not_a_client():
    client = af.connect("local", n_workers=1, quiet=True, processes=False)
    client.close()
    found = of(af.doctor(client), "client")
    assert found.state == "problem"
    assert "closed" in found.seen
    with pytest.raises(InputError, match="a plain distributed"):
        af.doctor("tcp://127.0.0.1:8786")
