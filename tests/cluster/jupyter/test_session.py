"""Records of the schedulers of one Jupyter server, and how a notebook finds the panel's clusters."""

from __future__ import annotations

import json
import os

import pytest
from cluster_tools import eventually
from panel_tools import PATIENCE_S

from af_kit.cluster.jupyter import session
from af_kit.cluster.jupyter.session import Dashboard, dashboard_of


def test_connect_finds_the_clusters_of_the_panel(lab, shared):
    printed = lab.run("client = af_kit.connect(); print(json.dumps({'address': client.scheduler.address}))")
    assert printed["address"] == shared["scheduler_address"]
    assert f"The cluster of the Dask panel, {shared['scheduler_address']}" in printed["said"]
    printed = lab.run(
        "client = af_kit.connect(n_workers=1, quiet=True); print(json.dumps({'address': client.scheduler.address}))"
    )
    assert printed["address"] != shared["scheduler_address"]  # with an argument, it starts another one


def test_connect_does_not_wait_for_workers_of_a_panel_cluster_without_any(lab, cluster):
    lab.get(f"dask/clusters/{cluster['id']}", "PATCH", {"adapt": {"minimum": 0, "maximum": 1}})
    assert eventually(lambda: lab.workers(cluster["id"]) == 0, within_s=PATIENCE_S)
    printed = lab.run("client = af_kit.connect(); print(json.dumps({'sum': client.submit(sum, [1, 2]).result()}))")
    assert printed["sum"] == 3


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("http://10.0.0.7:8787/status", Dashboard("10.0.0.7", 8787)),
        ("/user/alice/proxy/node-7:8787/status", Dashboard("node-7", 8787)),
        ("/user/alice/proxy/8787/status", Dashboard("localhost", 8787)),
        ("http://gateway:8000/clusters/ns.1/status", Dashboard("gateway", 8000, "/clusters/ns.1")),
        ("https://gateway.example/clusters/1/status", None),
        ("", None),
        (None, None),
    ],
)
def test_where_a_link_leads(link, expected):
    assert dashboard_of(link) == expected


def test_records_of_other_machines_and_ended_processes_are_ignored(records):
    link = "http://10.0.0.7:8787/status"
    mine = session.register(address="tcp://10.0.0.7:8786", link=link, server=os.getpid())
    assert mine.stat().st_mode & 0o777 == 0o600
    assert records.stat().st_mode & 0o777 == 0o700
    assert session.dashboards(os.getpid()) == {Dashboard("10.0.0.7", 8787)}
    assert session.dashboards(1) == set()
    content = json.loads(mine.read_text())
    elsewhere = records / "elsewhere.json"
    for other in ({"machine": "another"}, {"born": 1}):
        elsewhere.write_text(json.dumps(content | other | {"dashboard": {"host": "h", "port": 1, "path": ""}}))
        assert session.dashboards(os.getpid()) == {Dashboard("10.0.0.7", 8787)}
    assert not elsewhere.exists()  # the process that wrote it has ended
    session.unregister(mine)
    assert session.dashboards(os.getpid()) == set()
