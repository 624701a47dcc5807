"""The import of dask-jobqueue."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from af_kit.errors import MissingExtraError


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


def test_without_dask_jobqueue_there_is_an_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue.htcondor", None)  # importing it fails
    monkeypatch.delitem(sys.modules, "af_kit.cluster.batch.jobqueue", raising=False)
    with pytest.raises(MissingExtraError, match="pip install dask-jobqueue"):
        importlib.import_module("af_kit.cluster.batch.jobqueue")
