"""JupyterLab's Dask panel with Slurm: from NEW to SHUTDOWN, and the queue afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from cluster_tools import eventually
from panel_tools import PATIENCE_S, Lab
from temporary import temporary_service

from services.slurm.cluster import PROGRAMS, Slurm

SETTINGS = {
    "BACKEND": "slurm",
    "BATCH__SCHEDULER_HOST": "127.0.0.1",
    "BATCH__INTERFACE": "lo",
    "BATCH__POLL_S": "1",
    "BATCH__CORES": "1",
    "BATCH__MEMORY": "1 GiB",
    "BATCH__PRELOAD": "['af_kit.plugins.xrootd_preload']",
}
SUM = "client = af_kit.connect(); print(json.dumps({'sum': client.submit(sum, [1, 2]).result()}))"

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def slurm(require) -> Iterator[Slurm]:
    require("panel", PROGRAMS)
    with temporary_service(Slurm, "panel") as slurm:
        yield slurm.start()


@pytest.fixture
def start(slurm, tmp_path) -> Iterator[Callable[..., Lab]]:
    """Starts the Jupyter server of a site with Slurm; the arguments are additional settings."""
    labs: list[Lab] = []

    def start(**more: str) -> Lab:
        settings = {f"DASK_AF_KIT__CLUSTER__{name}": value for name, value in (SETTINGS | more).items()}
        state = {"XDG_STATE_HOME": str(tmp_path / "state"), "DASK_LABEXTENSION__DEFAULT__WORKERS": "1"}
        labs.append(Lab(tmp_path / "lab", **slurm.environment(), **settings, **state))
        return labs[-1]

    yield start
    for lab in labs:
        if lab.process.poll() is None:
            lab.stop()


def queue(slurm: Slurm) -> str:
    return slurm.command("squeue", "--noheader", "--format=%i %T")


def test_a_cluster_on_slurm_from_start_to_shutdown(slurm, start):
    lab = start()
    status, model = lab.get("dask/clusters", "PUT")
    assert status == 200, model
    assert model["name"] == "slurm cluster 1"
    assert model["scheduler_address"].startswith("tls://")

    def has(workers: int) -> bool:
        return eventually(lambda: lab.workers(model["id"]) == workers, within_s=PATIENCE_S)

    assert has(1)
    below = model["dashboard_link"].removeprefix("/user/alice/").removesuffix("status")
    assert "<title>Dask" in lab.get(f"{below}individual-task-stream")[1]
    assert lab.run(SUM)["sum"] == 3  # connect() finds the cluster and its certificates
    path = f"dask/clusters/{model['id']}"
    assert lab.get(path, "PATCH", {"workers": 2})[0] == 200
    assert has(2)
    assert lab.get(path, "PATCH", {"adapt": {"minimum": 0, "maximum": 2}})[1]["adapt"] == {"minimum": 0, "maximum": 2}
    assert has(0)  # there is nothing to do
    found = lab.run(SUM)
    assert found["sum"] == 3
    assert f"The cluster of the Dask panel, {model['scheduler_address']}" in found["said"]
    assert lab.get(path, "DELETE")[0] == 204
    assert eventually(lambda: queue(slurm) == "", within_s=PATIENCE_S)
    assert eventually(lambda: not lab.children())


def test_the_jobs_end_with_the_jupyter_server(slurm, start):
    lab = start()
    assert lab.get("dask/clusters", "PUT")[0] == 200
    assert eventually(lambda: "RUNNING" in queue(slurm), within_s=PATIENCE_S)
    lab.stop()
    assert eventually(lambda: queue(slurm) == "", within_s=PATIENCE_S)
    assert eventually(lambda: not lab.children(), within_s=PATIENCE_S)


def test_the_panel_shows_slurms_refusal(slurm, start):
    lab = start(SLURM__PARTITION="no-such-partition")
    status, answer = lab.get("dask/clusters", "PUT")
    assert status == 500
    assert "invalid partition" in answer["message"]
    assert lab.get("dask/clusters")[1] == []
    assert queue(slurm) == ""
    assert eventually(lambda: not lab.children(), within_s=PATIENCE_S)
