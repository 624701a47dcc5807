"""Checks of Kubernetes."""

from __future__ import annotations

import dask
from doctor_tools import of

import af_kit as af


def test_a_pod_without_egress(monkeypatch, closed_port):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(closed_port))
    found = of(af.doctor(), "egress")
    assert found.state == "warning"  # it is not the configured backend
    with dask.config.set({"af_kit.cluster.backend": "kubernetes"}):
        found = of(af.doctor(), "egress")
    assert found.state == "problem"
    assert "network policy" in found.advice


def test_kubernetes_that_is_configured_but_does_not_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert of(af.doctor(), "Kubernetes").state == "ok"
    with dask.config.set({"af_kit.cluster.backend": "kubernetes"}):
        found = of(af.doctor(), "Kubernetes")
    assert found.state == "problem"
    assert "KUBECONFIG" in found.seen
