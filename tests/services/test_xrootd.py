"""Files on XRootD servers: open to everybody, or with an X.509 proxy or a token; slow, dead and restarted servers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import dask
import numpy as np
import pytest
from hist import Hist
from run_tools import wait_for, write_events
from temporary import temporary_service

import af_kit as af
from af_kit.data.transport import xrootd
from af_kit.data.transport.source import open_source
from af_kit.data.transport.store import open_store
from af_kit.errors import FilesetError, ReadError, WriteError
from af_kit.plugins.proxy import send_proxy
from af_kit.plugins.tokens import send_token
from af_kit.run.stage_out import clean, read_manifest, stage_out, verify, write_manifest
from services.common import free_ports, stop_all
from services.xrootd.relay import Relay
from services.xrootd.server import PROGRAMS, SERVERS, XRootD, missing

# The tests must not depend on credentials of this machine or its user.
VARIABLES = (
    "X509_USER_PROXY", "X509_CERT_DIR", "X509_CERT_BUNDLE", "XrdSecGSIUSERPROXY", "XrdSecGSICADIR",
    "BEARER_TOKEN", "BEARER_TOKEN_FILE", "DASK_SCHEDULER_ADDRESS",
)  # fmt: skip
# Of proxies that expire during a run: a busy machine needs seconds to open the first file.
LIFETIME_S = 8
ENTRIES = {"a.root": 3000, "b.root": 2500, "c.root": 1000}


@pytest.fixture(scope="module", autouse=True)
def no_credentials():
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        # Chunks of 1000 entries, and no wait before a retry
        settings = {"data.chunk_bytes": 1, "data.xrootd.connect_s": 2, "run.backoff_s": 0}
        with dask.config.set({f"af_kit.{key}": value for key, value in settings.items()}):
            yield


SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="module")
def servers(require) -> Iterator[XRootD]:
    """The servers, with ``/store/run/{a,b,c}.root`` in their store."""
    require("xrootd", PROGRAMS)
    if reason := missing():
        pytest.skip(f"xrootd is not installed: {reason}")
    with temporary_service(XRootD, "xrootd") as servers:
        servers.start()
        (servers.data / "store" / "run").mkdir()
        for seed, (name, entries) in enumerate(ENTRIES.items()):
            write_events(servers.data / "store" / "run" / name, entries, seed)
        yield servers


@pytest.fixture(scope="module")
def local(servers) -> dict[str, Any]:
    """The result of `everything` from the same files on the local disk."""
    return bits(af.process(everything, [str(servers.data / "store" / "run" / name) for name in ENTRIES]))


@pytest.fixture(scope="module")
def client(servers) -> Iterator[Any]:
    """A shared client with two workers without credentials."""
    with af.connect("local", n_workers=2, quiet=True) as client:
        yield client


@pytest.fixture
def cluster() -> Iterator[Callable[..., Any]]:
    """``cluster(n_workers, environment)`` returns the client of a new cluster, whose workers have never logged in."""
    clients = []

    def start(n_workers: int = 1, environment: Mapping[str, str] | None = None) -> Any:
        with dask.config.set(
            {"af_kit.cluster.local.preload": ["af_kit.data.reading.describe", "af_kit.plugins.xrootd_preload"]}
        ):
            client = af.connect("local", n_workers=n_workers, quiet=True, environment=environment, dashboard=False)
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.close()


@pytest.fixture
def relay(servers) -> Iterator[Relay]:
    relay = Relay(servers.url("anonymous"))
    yield relay
    relay.close()


@pytest.fixture
def closed_port() -> int:
    """A port on which nothing listens."""
    return free_ports(1)[0]


def urls(servers: XRootD, server: str) -> list[str]:
    return [servers.url(server, f"/store/run/{name}") for name in ENTRIES]


def everything(events: Any) -> dict[str, Any]:
    """Return values that a lost, doubled or misplaced entry would change."""
    return {
        "n": len(events),
        "event": np.asarray(events.event),
        "pt": Hist.new.Reg(50, 0, 100, name="pt").Int64().fill(ak.flatten(events.Muon.pt)),
        "weight": np.asarray(events.genWeight, np.float64).sum(),
    }


def bits(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result in a form that == compares bit for bit."""
    return {
        "n": result["n"],
        "event": result["event"].tolist(),
        "pt": result["pt"].values(flow=True).tolist(),
        "weight": result["weight"].hex(),
    }


def quietly(run: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about failed entries, which the tests expect
        return run()


def test_the_doctor_opens_a_file(servers, tmp_path, monkeypatch):
    def opened(server: str) -> Any:
        with dask.config.set({"af_kit.doctor.check_s": 60}):  # long enough for a busy machine
            found = af.doctor(open=urls(servers, server)[0]).findings
        (finding,) = [finding for finding in found if finding.check == "one file opened"]
        return finding

    assert opened("anonymous").state == "ok"
    monkeypatch.setenv("X509_CERT_DIR", servers.environment()["X509_CERT_DIR"])
    path = tmp_path / "proxy"
    monkeypatch.setenv("X509_USER_PROXY", str(path))
    refused = opened("gsi")
    assert refused.state == "problem"
    assert "Auth failed" in refused.seen  # the server's message
    assert str(path) in refused.seen  # and the kit's explanation
    servers.proxy(path)
    assert opened("gsi").state == "ok"  # the failed check affects neither this process nor the next check


# ------------------------------------------------------------------------------------------------ anonymous access


def test_the_result_over_root_equals_the_local_one(servers, local, client):
    result = af.process(everything, urls(servers, "anonymous"), client)
    assert bits(result) == local
    report = result.report.check()
    assert report.entries == {"planned": 6500, "processed": 6500, "failed": 0}
    assert (report.retries, report.replicas, report.fallbacks) == (0, {}, {})
    assert len(report.workers) == 2
    size = sum((servers.data / "store" / "run" / name).stat().st_size for name in ENTRIES)
    assert 0 < report.bytes_read < 2 * size


@pytest.mark.parametrize("name", ["plain_lz4", "unaligned", "rntuple"])
def test_every_branch_over_root_equals_the_local_one(servers, name):
    sample = Path(__file__).parents[1] / "samples" / f"{name}.root"
    shutil.copy(sample, servers.data / "store")
    (mine,), (theirs,) = af.plan(str(sample)), af.plan(servers.url("anonymous", f"/store/{name}.root"))
    assert replace(theirs, file=mine.file, replicas=mine.replicas) == mine
    mine, theirs = af.read(mine), af.read(theirs)
    for branch in ("Muon_pt", "i32", "Muon_charge"):
        assert ak.array_equal(theirs[branch], mine[branch], equal_nan=True, dtype_exact=True)


def test_globs(servers):
    run = servers.url("anonymous", "/store/run/")
    found = af.load_fileset(run + "*.root")["files"].files
    assert [file.path for file in found] == urls(servers, "anonymous")
    both = af.load_fileset({"ab": [run + "[ab].root"], "c": [servers.url("anonymous", "/store/**/c.root")]})
    assert [file.path for file in both["ab"].files + both["c"].files] == urls(servers, "anonymous")
    with pytest.raises(FilesetError, match="matches no file"):
        af.load_fileset(run + "z*.root")
    with pytest.raises(FilesetError, match=r"matches no file|cannot list it"):
        af.load_fileset(servers.url("anonymous", "/store/none/*.root"))


def test_the_open_data_fileset_with_a_rewrite_rule(servers, client, tmp_path):
    """The fileset names CERN's server; the configuration says that this site has a copy."""
    fileset = af.load_fileset("dimuon.yaml")
    (name,) = fileset
    cern = "root://eospublic.cern.ch//eos/"
    assert all(file.path.startswith(cern) for file in fileset[name].files)
    af_kit = Path(sys.executable).with_name("af-kit")
    simulate = [af_kit, "simulate", "dimuon", "--events", "6000", "--files", f"{len(fileset[name].files)}"]
    subprocess.run([*simulate, "--out", tmp_path], check=True, capture_output=True)
    for file, made in zip(fileset[name].files, sorted(tmp_path.glob("*.root")), strict=True):
        copy = servers.data / "eos" / file.path.removeprefix(cern)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, copy)
    with dask.config.set({"af_kit.data.rewrite": [{"match": cern, "replace": servers.url("anonymous", "/eos/")}]}):
        fileset = af.load_fileset("dimuon.yaml")
        assert all(file.replicas[1].startswith(cern) for file in fileset[name].files)
        result = af.process(af.analysis.dimuon.analyse, "dimuon.yaml", client)
    assert result.report.check().entries["processed"] == 6000
    local = af.process(af.analysis.dimuon.analyse, [str(path) for path in copy.parent.glob("*.root")])
    assert result["mass"] == local["mass"]


def test_a_cache_with_a_rewrite_rule(servers, local, client):
    origin = servers.url("anonymous")
    with dask.config.set({"af_kit.data.rewrite": [{"match": origin, "replace": servers.url("cache", f"/{origin}")}]}):
        fileset = af.load_fileset(urls(servers, "anonymous"))
    assert [file.replicas[1] for file in fileset["files"].files] == urls(servers, "anonymous")
    result = af.process(everything, fileset, client)
    assert bits(result) == local
    assert result.report.replicas == {}
    cached = {path.name for path in (servers.folder / "cache" / "files").rglob("*.root")}
    assert cached == set(ENTRIES)


def test_missing_refused_and_foreign_files(servers, client):
    with pytest.raises(ReadError, match=r"none\.root does not exist on this server"):
        af.plan(servers.url("anonymous", "/store/none.root"))
    with pytest.raises(ReadError, match=r"/etc/passwd\.root cannot be read: the server refused it"):
        af.plan(servers.url("anonymous", "/etc/passwd.root"))
    (servers.data / "store" / "empty.root").touch()
    with pytest.raises(ReadError, match=r"empty\.root"):
        af.plan(servers.url("anonymous", "/store/empty.root"))
    (servers.data / "store" / "page.root").write_text("<html>please log in</html>" * 100)
    with pytest.raises(ReadError, match=r"page\.root is not a ROOT file"):
        af.plan(servers.url("anonymous", "/store/page.root"))
    missing = servers.url("anonymous", "/store/run/none.root")
    result = quietly(lambda: af.process(everything, [*urls(servers, "anonymous"), missing], client))
    assert result.report.entries == {"planned": 6500, "processed": 6500, "failed": 0}
    (failure,) = result.report.failures
    assert (failure.file, failure.entries) == (missing, 0)


# -------------------------------------------------------------------------------------------- number of requests


def test_a_plan_needs_few_requests_and_a_part_of_the_file(relay):
    with relay.counted() as requests:
        af.plan(relay.url("/store/run/a.root"))
    size = requests.pop("bytes")
    assert requests["open"] == 1
    assert requests["readv"] + requests["read"] <= 3
    assert requests.total() <= 7  # including login
    assert size < 40_000


def test_branches_of_any_type_do_not_need_more_requests(servers, relay):
    """uproot reads the first basket of each to find its type."""
    shutil.copy(SAMPLES / "stl.root", servers.data / "store" / "stl.root")
    with relay.counted() as requests:
        (chunk,) = af.plan(relay.url("/store/stl.root"))
    assert len(chunk.layout.forms) > 15
    assert requests["readv"] + requests["read"] <= 5
    (local,) = af.plan(str(SAMPLES / "stl.root"))
    assert chunk.layout.forms == local.layout.forms


def test_a_file_stays_open_and_each_chunk_needs_one_request(relay):
    chunks = af.plan(relay.url("/store/run/a.root"), chunk_entries=500)
    assert len(chunks) == 6
    with relay.counted() as requests:
        af.process(everything, chunks, branches=["event", "Muon", "genWeight"]).report.check()
    opened = requests["open"]
    assert requests["readv"] <= 6
    assert requests["read"] + requests["stat"] + requests["query"] == 0
    with relay.counted() as requests:
        af.process(everything, chunks).report.check()  # without branches=: they are learned
    # For each thread one for the chunk in work, and one for the next. The first run may need fewer: a thread
    # that starts late finds a file that the other one has opened and is not reading.
    assert opened + requests["open"] <= 4
    assert requests["readv"] <= 6 + 2 * 4  # both threads start without knowing them


def test_workers_fetch_each_chunk_in_one_request(relay, client):
    chunks = af.plan(relay.url("/store/run/a.root"), chunk_entries=500)
    with relay.counted() as requests:
        af.process(everything, chunks, client).report.check()
    assert requests["open"] <= 4  # on each worker one for the chunk in work, and one for the next
    assert requests["readv"] <= 6 + 2


def test_the_server_only_sends_the_requested_branches(relay):
    (chunk,) = af.plan(relay.url("/store/run/a.root"), chunk_entries=10_000)
    with relay.counted() as requests:
        events = af.read(chunk)
        _ = ak.sum(events.event)
    column = chunk.layout.columns["event"]
    assert requests["bytes"] < column.sizes.sum() + 4096 + 16 * len(column.sizes)


def test_ranges_of_any_number_and_size_are_returned_in_order(servers, relay):
    """More and longer ranges than a server accepts in one vector read."""
    data = np.random.default_rng(1).bytes(9_000_000)
    (servers.data / "store" / "bytes").write_bytes(data)
    random = np.random.default_rng(2)
    pairs = zip(random.integers(0, len(data) - 3000, 3000), random.integers(0, 3000, 3000), strict=True)
    ranges = [(int(start), int(start + length)) for start, length in pairs]
    ranges += [(0, len(data)), (5, 5), (1000, 4_300_000), (2_097_136, 2_097_137)]
    source = open_source(relay.url("/store/bytes"))
    with relay.counted() as requests:
        assert [bytes(piece) for piece in source.read(ranges)] == [data[a:b] for a, b in ranges]
    assert requests["readv"] <= 6
    source.read([(0, len(data))])
    with pytest.raises(ReadError, match="bytes"):
        source.read([(len(data) - 10, len(data) + 10)])
    source.close()


# ---------------------------------------------------------------------------------------- dead servers and replicas


@pytest.mark.timeout(60)  # XRootD's client by itself waits for eight minutes, and longer for a silent server
def test_the_next_replica_is_used_quickly_if_a_server_is_dead(servers, client, closed_port):
    dead, alive = f"root://127.0.0.1:{closed_port}//store/run/a.root", urls(servers, "anonymous")[0]
    fileset = {"d": {"files": [{"replicas": [dead, alive]}]}}
    result = af.process(everything, fileset, client, chunk_entries=500)
    assert result.report.check().entries["processed"] == 3000
    assert set(result.report.replicas) == {alive}


@pytest.mark.timeout(60)
def test_each_worker_waits_for_a_silent_server_once(servers, relay, client):
    relay.silent = True
    silent, alive = relay.url("/store/run/a.root"), urls(servers, "anonymous")[0]
    result = af.process(everything, {"d": {"files": [{"replicas": [silent, alive]}]}}, client, chunk_entries=250)
    assert result.report.check().entries["processed"] == 3000
    assert set(result.report.replicas) == {alive}
    assert relay.connections <= 2  # one for each worker: its other tasks skip the server


def test_the_error_lists_every_replica_if_none_answers(servers, closed_port):
    dead, missing = f"root://127.0.0.1:{closed_port}//store/run/a.root", servers.url("anonymous", "/store/none.root")
    reasons = (
        rf"{closed_port}//store/run/a\.root cannot be read: its server does not answer",
        r"none\.root does not exist on this server",
    )
    with pytest.raises(ReadError, match=".*".join(reasons)):
        af.plan({"d": {"files": [{"replicas": [dead, missing]}]}})
    (chunk,) = af.plan(urls(servers, "anonymous")[2])
    result = quietly(lambda: af.process(everything, [replace(chunk, replicas=(dead, missing))]))
    (failure,) = result.report.failures
    assert all(re.search(reason, failure.reason) for reason in reasons)
    with pytest.raises(ReadError, match=r"no-such-host\.invalid.*its server does not answer"):
        af.plan("root://no-such-host.invalid//a.root")


def test_a_server_is_restarted_during_the_run(servers, local):
    turn = threading.Lock()

    def restarting(events: Any) -> dict[str, Any]:
        if events.metadata["entry_start"] == 1000 and turn.acquire(blocking=False):
            servers.stop(["anonymous"])
            servers.start(["anonymous"])
        return everything(events)

    files = urls(servers, "anonymous")
    with dask.config.set({"af_kit.run.backoff_s": 0.2}):
        assert bits(af.process(restarting, files)) == local
    assert turn.locked()
    assert urls(servers, "anonymous") == files


def test_broken_connections_are_reconnected(relay, local):
    the_relay = weakref.ref(relay)  # which counts its connections: as the function's own state it would be refused

    def cut(events: Any) -> dict[str, Any]:
        the_relay().cut()
        return everything(events)

    result = af.process(cut, [relay.url(f"/store/run/{name}") for name in ENTRIES])
    assert bits(result) == local


def test_an_old_plan_does_not_read_a_rewritten_file(servers):
    path = servers.data / "store" / "new.root"
    url = servers.url("anonymous", "/store/new.root")
    write_events(path, 500, 1)
    chunks = af.plan(url)
    assert af.process(everything, chunks)["n"] == 500
    write_events(path.with_name("other.root"), 700, 2)
    server = xrootd.client().FileSystem(url)
    for done, _ in (server.rm("/store/new.root"), server.mv("/store/other.root", "/store/new.root")):
        assert done.ok
    again = af.process(everything, url)
    assert again["n"] == 700
    assert again["event"].tolist() == (np.arange(700) + 200_000).tolist()
    xrootd._idle.clear()  # a file that is still open is the old one, which the old plan may read
    with pytest.raises(ReadError, match="is not the file that was planned"):
        af.read(chunks[0], ["run"])


# ------------------------------------------------------------------------------------- explanations of refusals

ASK = """
import json, os, sys
from af_kit.data.reading.describe import describe
from af_kit.errors import ReadError
for number, (url, variables) in enumerate(json.load(sys.stdin)):
    if os.fork() == 0:
        os.environ.update(variables)
        try:
            answer = describe(url, "Events").entries
        except ReadError as error:
            answer = [str(error), error.transient]
        os.write(1, (json.dumps([number, answer]) + "\\n").encode())  # one write, because several processes answer
        os._exit(0)
for _ in range(number + 1):
    os.wait()
"""


def ask(*questions: tuple[str, Mapping[str, Any]]) -> list[Any]:
    """Open each file in a new process; return its entries, or the error and whether it is transient."""
    requests = json.dumps([(url, {name: str(value) for name, value in more.items()}) for url, more in questions])
    done = subprocess.run(
        [sys.executable, "-c", ASK], input=requests, capture_output=True, text=True, check=True, timeout=60
    )
    answers = dict(json.loads(line) for line in done.stdout.splitlines())
    return [answers[number] for number in range(len(questions))]


def test_the_reason_for_a_refused_proxy(servers, tmp_path):
    url = urls(servers, "gsi")[0]
    good = {"X509_CERT_DIR": servers.authority.directory, "X509_USER_PROXY": servers.proxy(tmp_path / "good")}
    expired = servers.proxy(tmp_path / "expired", lifetime_s=-3600)
    (tmp_path / "no-certificates").mkdir()
    answers = ask(
        (url, good),
        (url, {**good, "X509_USER_PROXY": tmp_path / "none"}),
        (url, {**good, "X509_USER_PROXY": expired}),
        (url, {**good, "X509_CERT_DIR": tmp_path / "no-certificates"}),
        (url, {**good, "X509_USER_PROXY": servers.proxy(tmp_path / "mallory", "mallory")}),
        (url.replace("localhost", "127.0.0.1"), good),
    )
    assert answers[0] == ENTRIES["a.root"]
    expected = [
        rf"There is no X\.509 proxy|No X\.509 proxy.*{tmp_path / 'none'} does not exist",
        rf"proxy in {expired} expired 1 h \d min ago",
        rf"{tmp_path / 'no-certificates'} contains no CA certificates",
        r"CN=mallory.*The server does not accept it",
        r"server certificate CN 'localhost' does not match",
    ]
    for (message, transient), pattern in zip(answers[1:], expected, strict=True):
        assert re.search(r"a\.root cannot be read: the server refused it", message)
        assert re.search(pattern, message), message
        assert not transient  # an immediate retry would fail too


def test_the_reason_for_a_refused_token(servers, tmp_path):
    url = urls(servers, "token")[0]

    def token(name: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        path = tmp_path / name
        path.touch(mode=0o600)
        path.write_text(servers.token(*arguments, **options))
        return {"X509_CERT_DIR": servers.authority.directory, "BEARER_TOKEN_FILE": path}

    none = {**token("none"), "BEARER_TOKEN_FILE": tmp_path / "nothing"}
    answers = ask(
        (url, token("good")),
        (url, token("narrow", ["storage.read:/store/run"])),
        (url, none),
        (url, token("expired", lifetime_s=-7200)),
        (url, token("other", ["storage.read:/eos"])),
        (url, token("audience", aud="https://elsewhere")),
    )
    assert answers[:2] == [ENTRIES["a.root"]] * 2
    expected = [
        rf"no bearer token|{tmp_path / 'nothing'} does not exist",
        rf"token in {tmp_path / 'expired'} expired 2 h \d min ago",
        r"storage\.read:/eos.*The server does not accept it",
        r"The server does not accept it",
    ]
    for (message, transient), pattern in zip(answers[2:], expected, strict=True):
        assert re.search(r"a\.root cannot be read: the server refused it", message)
        assert re.search(pattern, message), message
        assert not transient


AGAIN = """
import os, sys
from af_kit.data.reading.describe import describe
url, proxy, good = sys.argv[1:]
for os.environ["X509_USER_PROXY"] in (proxy, good):
    try:
        print(describe(url, "Events").entries)
    except OSError as error:
        print(error)
"""


def test_a_missing_proxy_does_not_disable_tokens_for_the_whole_process(servers, tmp_path):
    """XRootD's client stops using TLS if it cannot find the proxy, although a token needs no proxy."""
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(servers.token())
    names = {"X509_CERT_DIR": str(servers.authority.directory), "BEARER_TOKEN_FILE": str(token)}
    command = [sys.executable, "-c", AGAIN, urls(servers, "token")[0], str(tmp_path / "none")]
    command.append(str(servers.proxy(tmp_path / "proxy")))
    done = subprocess.run(command, env={**os.environ, **names}, capture_output=True, text=True, check=True, timeout=60)
    first, second = done.stdout.splitlines()
    assert f"X509_USER_PROXY names {tmp_path / 'none'}, which does not exist" in first
    assert second == "3000"


# ---------------------------------------------------------------------------------------------- a proxy on a cluster


def test_reading_with_a_proxy_also_on_a_late_worker(servers, local, cluster, tmp_path):
    client = cluster(1)
    files = urls(servers, "gsi")
    with pytest.raises(ReadError, match=r"3 of 3 files cannot be used: .*the server refused it.*send_proxy\(client\)"):
        af.process(everything, files, client)
    proxy = servers.proxy(tmp_path / "proxy")
    sent = send_proxy(client, proxy, cert_dir=servers.authority.directory, watch=False)
    assert set(sent.check().values()) == {"ok"}
    assert bits(af.process(everything, files, client)) == local

    (early,) = client.scheduler_info()["workers"]
    client.cluster.scale(2)
    client.wait_for_workers(2, timeout=60)
    (late,) = set(client.scheduler_info()["workers"]) - {early}
    chunk = af.plan(files[0], client=client)[0]
    entries = client.submit(lambda: len(af.read(chunk).event.to_numpy()), workers=[late], pure=False)
    assert entries.result(timeout=60) == len(chunk)

    # The same proxy also allows writing.
    result = af.process(skim(servers.url("gsi", "/store/skims/grid")), files, client)
    result.report.check()
    verify(write_manifest(result["skim"], servers.url("anonymous", "/store/skims/grid")))


def test_a_proxy_that_expires_while_running(servers, local, cluster, tmp_path):
    """Connections outlive a proxy, but new ones fail: the last file is refused, and listed."""
    client = cluster(1)
    first, second, last = (replace(chunk, replicas=(url,), file=url) for chunk, url in on_separate_connections(servers))
    source = servers.proxy(tmp_path / "proxy", lifetime_s=LIFETIME_S)
    ends = time.time() + LIFETIME_S
    sent = send_proxy(client, source, cert_dir=servers.authority.directory, min_lifetime_s=0, watch=False)

    def outlasting(events: Any) -> dict[str, Any]:
        found = everything(events)
        while time.time() < ends + 1:
            time.sleep(0.05)
        return found

    result = quietly(lambda: af.process(outlasting, [first, second, last], client))
    # The second one is fetched while the first one is processed.
    assert result.report.entries == {"planned": 6500, "processed": 6500 - len(last), "failed": len(last)}
    (failure,) = result.report.failures
    assert failure.file == last.file
    assert re.search(r"the server refused it.*expired \d+ s ago", failure.reason), failure.reason

    servers.proxy(source)
    sent.refresh()
    assert bits(result.retry()) == local


def test_a_proxy_that_is_renewed_while_running(servers, local, cluster, tmp_path):
    client = cluster(1)
    chunks = [replace(chunk, replicas=(url,), file=url) for chunk, url in on_separate_connections(servers)]
    source = servers.proxy(tmp_path / "proxy", lifetime_s=LIFETIME_S)
    ends = time.time() + LIFETIME_S
    sent = send_proxy(client, source, cert_dir=servers.authority.directory, min_lifetime_s=0, watch=False)
    started = tmp_path / "started"

    def outlasting(events: Any) -> dict[str, Any]:
        started.touch()
        found = everything(events)
        while time.time() < ends + 1:
            time.sleep(0.05)
        return found

    def renew() -> None:
        wait_for(started.exists)
        servers.proxy(source)
        sent.refresh()

    renewing = threading.Thread(target=renew)
    renewing.start()
    result = af.process(outlasting, chunks, client)
    renewing.join()
    assert bits(result) == local
    assert result.report.check().retries == 0


def on_separate_connections(servers: XRootD) -> Iterator[tuple[Any, str]]:
    """Plan the files from the local disk. Each URL has another user name, for which XRootD opens another connection."""
    for i, name in enumerate(ENTRIES):
        (chunk,) = af.plan(str(servers.data / "store" / "run" / name), chunk_entries=10_000)
        yield chunk, servers.url("gsi", f"/store/run/{name}").replace("//localhost", f"//file{i}@localhost")


# ----------------------------------------------------------------------------------------------------- stage-out


def skim(folder: str) -> Callable[[Any], dict[str, Any]]:
    def function(events: Any) -> dict[str, Any]:
        pairs = events[ak.num(events.Muon) == 2]
        return {"n": len(pairs), "skim": stage_out(pairs[["event", "Muon"]], folder, events, format="root")}

    return function


def below(servers: XRootD, folder: str) -> list[str]:
    top = servers.data / "store" / folder
    return sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file())


def test_a_skim_is_written_to_the_store_and_read_back(servers, client):
    folder = servers.url("anonymous", "/store/skims/one")
    result = af.process(skim(folder), urls(servers, "anonymous"), client)
    result.report.check()
    manifest = verify(write_manifest(result["skim"], folder))
    assert below(servers, "skims/one") == sorted(["manifest.json", *(row["file"] for row in manifest.rows)])
    assert read_manifest(folder) == manifest
    second = af.process(lambda events: {"event": np.asarray(events.event)}, manifest.fileset(), client)
    assert len(second["event"]) == manifest.entries == result["n"]

    af.process(skim(folder), urls(servers, "anonymous"), client)  # again: the same names and bytes
    verify(manifest)
    (servers.data / "store" / "skims" / "one" / "files" / "notes.txt").touch()
    half = af.process(skim(folder), urls(servers, "anonymous"), client, chunk_entries=500)
    manifest = write_manifest(half["skim"], folder)
    removed = clean(folder, manifest)
    assert len(removed) == len(result["skim"]) - 1  # entries 2000 to 2500 are a chunk in both cases
    expected = ["files/notes.txt", "manifest.json", *(row["file"] for row in manifest.rows)]
    assert below(servers, "skims/one") == sorted(expected)
    verify(manifest)


def test_a_file_that_is_open_elsewhere_is_replaced_for_everybody(servers):
    """If it were only renamed over, readers would see the old file as long as anybody has it open."""
    store = open_store(servers.url("anonymous", "/store/skims/two"))
    store.put("d/f", b"old")
    reader = open_source(store.path("d/f"))
    assert bytes(reader.read([(0, 3)])[0]) == b"old"
    store.put("d/f", b"new and longer")
    assert store.get("d/f") == b"new and longer"
    assert store.names("d") == ["d/f"]
    assert store.names("none") == []
    store.remove("d/f")
    store.remove("d/f")
    with pytest.raises(ReadError, match="does not exist"):
        store.get("d/f")


def test_refused_and_interrupted_writes(servers, relay, closed_port):
    with pytest.raises(WriteError, match=r"/etc/d/f cannot be written: the server refused it") as caught:
        open_store(servers.url("anonymous", "/etc")).put("d/f", b"x")
    assert not caught.value.transient
    with pytest.raises(WriteError, match=r"d/f cannot be written: its server does not answer") as caught:
        open_store(f"root://127.0.0.1:{closed_port}//store").put("d/f", b"x")
    assert caught.value.transient
    store = open_store(relay.url("/store/skims/three"))
    content = np.random.default_rng(3).bytes(30_000_000)
    relay.delay_s = 0.02
    cutter = threading.Thread(target=lambda: (wait_for(lambda: relay.requests["write"]), relay.cut()))
    cutter.start()
    try:
        store.put("f", content)
    except WriteError:
        store.put("f", content)  # like a retry
    cutter.join()
    assert store.get("f") == content
    assert [name for name in below(servers, "skims/three") if not name.endswith(".part")] == ["f"]


# ---------------------------------------------------------------------------------------------- a token on a cluster


def test_a_token_and_its_renewal(servers, local, cluster, tmp_path):
    """A server reads the token when a connection opens, so a new token needs a new connection."""
    client = cluster(1, {"X509_CERT_DIR": str(servers.authority.directory)})
    files = urls(servers, "token")
    with pytest.raises(ReadError, match=r"3 of 3 files cannot be used: .*the server refused it"):
        af.process(everything, files, client)
    source = tmp_path / "token"
    source.touch(mode=0o600)
    source.write_text(servers.token(["storage.read:/eos"]))
    sent = send_token(client, source, watch=False)
    with pytest.raises(ReadError, match=r"storage\.read:/eos.*The server does not accept it"):
        af.process(everything, files, client)
    source.write_text(servers.token(["storage.read:/store"]))
    sent.refresh()
    assert bits(af.process(everything, files, client)) == local


def test_a_glob_on_a_server_that_needs_a_token(servers, tmp_path, monkeypatch):
    source = tmp_path / "token"
    source.touch(mode=0o600)
    source.write_text(servers.token(["storage.read:/eos"]))
    monkeypatch.setenv("X509_CERT_DIR", str(servers.authority.directory))
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(source))
    pattern = servers.url("token", "/store/run/[ab].root")
    with pytest.raises(FilesetError, match=r"cannot list it: .*storage\.read:/eos.*The server does not accept it"):
        af.load_fileset(pattern)
    source.write_text(servers.token(["storage.read:/store"]))
    found = af.load_fileset(pattern)["files"].files
    assert [file.path for file in found] == urls(servers, "token")[:2]


# -------------------------------------------------------------------------------------------------------- the service


def test_a_second_start_finds_the_first_and_all_listen_on_loopback(servers):
    running = servers.running()
    assert servers.start().running() == running
    assert set(running) == {*SERVERS, "issuer"}
    listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    for server in SERVERS:
        port = int(servers.url(server).rsplit(":", 1)[1].strip("/"))
        addresses = re.findall(rf"([0-9A-F]+):{port:04X} [0-9A-F]+:0000 0A ", listening)
        assert addresses == ["0100007F"], server
    for pid in running.values():
        assert os.getuid() or Path(f"/proc/{pid}").stat().st_uid or "issuer" in running
    ended = {"pid": os.getpid(), "born": 1}  # a process whose id another process has now
    stop_all([ended])
