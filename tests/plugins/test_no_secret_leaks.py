"""Key material is only in its private file, and in nothing that is shown, logged, pickled or written."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pprint
import stat
import sys
import traceback
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cloudpickle
import dask
import pytest
from certificates import Authority, jwt, proxy, write
from distributed import Client, performance_report
from plugin_tools import local_cluster

import af_kit as af
from af_kit.credentials.secret import SecretBytes
from af_kit.plugins.proxy import X509ProxyPlugin, send_proxy
from af_kit.plugins.tokens import send_token

SAMPLE = Path(__file__).parents[1] / "samples" / "plain_zstd.root"


@pytest.fixture(scope="module", autouse=True)
def no_credentials():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("X509_USER_PROXY", "X509_CERT_DIR", "XrdSecGSIUSERPROXY", "BEARER_TOKEN", "BEARER_TOKEN_FILE"):
            patch.delenv(name, raising=False)
        yield


def found(lines: list[str], places: dict) -> list:
    """Return the places that contain a line of the secret, as text or in binary."""
    encoded = [line.encode() for line in lines]
    texts = {place: text if isinstance(text, bytes) else str(text).encode() for place, text in places.items()}
    return [place for place, text in texts.items() if any(line in text for line in encoded)]


SCHEDULER_PAGES = [
    *("status", "workers", "tasks", "health", "metrics", "individual-plots.json"),
    *("info/main/workers.html", "info/main/logs.html", "json/counts.json", "json/identity.json"),
]
PAGES_OF_A_WORKER = ("info/worker", "info/logs", "info/call-stacks", "info/call-stack")
WORKERS_OWN_PAGES = ["status", "counters", "crossfilter", "profile-server", "health", "metrics"]


def fetch(base: str, paths: list[str]) -> dict[str, str]:
    """Return the existing pages of a dashboard."""
    taken = {}
    for path in paths:
        with suppress(urllib.error.HTTPError), urllib.request.urlopen(f"{base}/{path}", timeout=120) as answer:
            taken[f"{base}/{path}"] = answer.read().decode(errors="replace")
    return taken


def dashboards(cluster, client) -> dict[str, str]:
    """Return the pages that the scheduler and the workers serve."""
    base = cluster.dashboard_link.removesuffix("/status")
    taken = fetch(base, SCHEDULER_PAGES)
    plots = json.loads(taken[f"{base}/individual-plots.json"]).values()
    assert len(plots) > 10
    taken |= fetch(base, [path.lstrip("/") for path in plots])
    for address, worker in client.scheduler_info(n_workers=-1)["workers"].items():
        quoted = urllib.parse.quote(address, safe="")
        pages = fetch(base, [f"{page}/{quoted}.html" for page in PAGES_OF_A_WORKER])
        assert len(pages) >= 3, pages.keys()
        taken |= pages | fetch(f"http://127.0.0.1:{worker['services']['dashboard']}", WORKERS_OWN_PAGES)
    return taken


@contextmanager
def client_of(cluster) -> Iterator[Client]:
    """Give a client. If closing it takes too long, the error says what its loop and every thread were doing."""
    client = Client(cluster)
    try:
        with client:
            yield client
    except TimeoutError as error:
        for task in asyncio.all_tasks(client.loop.asyncio_loop):
            error.add_note("\n".join([repr(task), *map(str, task.get_stack())]))
        for thread, frame in sys._current_frames().items():
            error.add_note(f"thread {thread}\n" + "".join(traceback.format_stack(frame)[-4:]))
        raise


def files(*folders: Path) -> Iterator[tuple[str, bytes, int]]:
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                yield str(path), path.read_bytes(), stat.S_IMODE(path.stat().st_mode)


def test_no_secret_leaks_on_a_cluster(tmp_path, capfd, caplog, monkeypatch):
    authority = Authority()
    alice = authority.user()
    folder = authority.folder(tmp_path / "certificates")
    first, second = proxy(alice), proxy(alice)
    token = jwt()
    mine = tmp_path / "mine"
    mine.mkdir()
    source, token_source = write(mine / "x509up", first.pem()), write(mine / "token", token)
    lines = [*first.secret_lines(), *second.secret_lines(), token.decode().split(".")[2]]

    temporary, local = tmp_path / "tmp", tmp_path / "workers"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    caplog.set_level(logging.DEBUG, logger="distributed")
    caplog.set_level(logging.DEBUG, logger="af_kit")
    places: dict = {}
    with (
        dask.config.set(
            {
                "logging.distributed": "debug",
                "distributed.admin.log-length": 100_000,
                # LocalCluster gives up a worker that is killed twice within this time: a restart on a busy machine.
                "distributed.deploy.lost-worker-timeout": "1h",
            }
        ),
        # By default LocalCluster silences the handlers of Dask's logger, and caplog's can be one of them.
        local_cluster(local, n_workers=2, worker_dashboard_address="127.0.0.1:0", silence_logs=False) as cluster,
        client_of(cluster) as client,
    ):
        client.run(lambda: logging.getLogger("distributed").setLevel(logging.DEBUG))
        with performance_report(filename=str(tmp_path / "performance.html")):
            proxy_handle = send_proxy(client, source, cert_dir=folder, watch=False)
            token_handle = send_token(client, token_source)
            write(source, second.pem())
            proxy_handle.refresh()
            result = af.process(
                lambda events: {"n": len(events)},
                {"one": {"files": {str(SAMPLE): "Events"}}},
                client,
                checkpoint=tmp_path / "checkpoint",
                progress=False,
            )
            assert result.report.complete
            graph = dask.delayed(lambda: Path(os.environ["X509_USER_PROXY"]).stat().st_size)()
            assert client.compute(graph).result() == len(second.pem())
            places["graph"] = (repr(graph.dask) + str(dict(graph.dask))).encode() + cloudpickle.dumps(graph)
            for name, secret in (("handle", proxy_handle), ("secret", SecretBytes(second.pem()))):
                with pytest.raises(Exception, match=r"not pickled|Could not serialize") as caught:
                    client.submit(lambda thing: thing, secret, key=f"pickled-{name}").result()
                places[f"exception of {name}"] = "".join(traceback.format_exception(caught.value))
        restarted = client.run(os.getpid)
        client.restart()
        assert not set(restarted.values()) & set(client.run(os.getpid).values())
        client.run(lambda: logging.getLogger("distributed").setLevel(logging.DEBUG))
        proxy_handle.check()
        token_handle.check()

        objects = [
            proxy_handle,
            proxy_handle.info,
            proxy_handle.workers,
            token_handle,
            token_handle.info,
            X509ProxyPlugin(),
            client,
            cluster,
        ]
        for thing in objects:
            shown = [repr(thing), str(thing), f"{thing}", pprint.pformat(thing), repr(getattr(thing, "__dict__", ""))]
            html = getattr(thing, "_repr_html_", None)
            places[type(thing).__name__] = "".join(shown) + (html() if html else "")
        places["scheduler log"] = client.get_scheduler_logs()
        places["worker logs"] = client.get_worker_logs()
        places["nanny logs"] = client.get_worker_logs(nanny=True)
        places["events"] = client.get_events()
        assert X509ProxyPlugin.name in places["events"]
        scheduler = cluster.scheduler
        places["plugins on the scheduler"] = repr(scheduler.worker_plugins)
        places["content on the scheduler"] = repr(scheduler.extensions["variables"].variables)
        client.dump_cluster_state(str(tmp_path / "dump"), write_from_scheduler=False, format="yaml")
        places |= dashboards(cluster, client)

        on_disk = {path: (content, mode) for path, content, mode in files(local, temporary)}
        expected = {*proxy_handle.workers.values(), *token_handle.workers.values()}
        assert len(expected) == 4
        assert set(found(lines, {path: content for path, (content, _) in on_disk.items()})) == expected
        assert {on_disk[path][1] for path in expected} == {0o600}
    for path in ("performance.html", "dump.yaml", "checkpoint"):
        assert (tmp_path / path).exists()
    places |= {path: content for path, content, _ in files(tmp_path) if not path.startswith(str(mine))}
    places["what processes wrote"] = "".join(capfd.readouterr())
    places["log of this process"] = caplog.text
    assert "Message from" in caplog.text  # Dask's most detailed level was on
    assert len(places) > 40
    assert found(lines, places) == []
    assert found(lines, {"control": second.pem()}) == ["control"]
