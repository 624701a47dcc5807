"""Checks of batch systems, gateway and hub."""

from __future__ import annotations

import dask
from doctor_tools import all_text, of

import af_kit as af


def test_a_configured_batch_system_without_its_commands():
    assert of(af.doctor(), "batch systems").state == "ok"
    with dask.config.set({"af_kit.cluster.backend": "slurm"}):
        assert "sbatch" in of(af.doctor(), "slurm").seen


def test_a_gateway_that_does_not_answer(closed_port):
    with dask.config.set({"gateway.address": f"http://127.0.0.1:{closed_port}"}):
        found = of(af.doctor(), "gateway")
    assert found.state == "problem"
    assert "connection refused" in found.seen


def test_a_hubs_variables(monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/alice/")
    found = of(af.doctor(), "JupyterHub")
    assert found.state == "warning"
    assert "JUPYTERHUB_API_TOKEN" in found.seen
    monkeypatch.setenv("JUPYTERHUB_USER", "alice")
    monkeypatch.setenv("JUPYTERHUB_API_URL", "http://hub:8081/hub/api")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "a-secret-of-the-hub")
    found = af.doctor()
    assert of(found, "JupyterHub").state == "ok"
    assert "a-secret-of-the-hub" not in all_text(found)
