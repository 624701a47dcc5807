"""The import of dask-jobqueue."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("backend", ["slurm", "htcondor"])
def test_importing_a_batch_cluster_leaves_ctrl_c_to_the_user(backend):
    code = f"""
from signal import SIGINT, getsignal
before = getsignal(SIGINT)
import af_kit.cluster.batch.{backend}.cluster
print(getsignal(SIGINT) == before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
