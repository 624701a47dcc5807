"""Links to dashboards."""

from __future__ import annotations

from typing import Any

import dask.config
import pytest
from distributed import LocalCluster

from af_kit.cluster import connect


def test_the_link_on_a_hub(running: LocalCluster, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/alice/")
    with dask.config.set({"distributed.dashboard.link": dask.config.get("distributed.dashboard.link")}):
        connect(running.scheduler_address).close()
        assert f"dashboard /user/alice/proxy/127.0.0.1:{running.scheduler.services['dashboard'].port}/status" in (
            capsys.readouterr().out
        )
    with dask.config.set({"distributed.dashboard.link": "https://mine/{port}"}):
        connect(running.scheduler_address).close()
        assert "dashboard https://mine/" in capsys.readouterr().out
    with dask.config.set({"distributed.dashboard.link": "{NOT_SET_HERE}/{port}"}):
        connect(running.scheduler_address).close()
        assert "dashboard" not in capsys.readouterr().out
