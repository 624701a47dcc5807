"""Key material is found in its one file, and in nothing that is shown, logged, pickled or written."""

from __future__ import annotations

import copy
import io
import json
import logging
import os
import pickle
import pprint
import stat
import subprocess
import sys
import traceback
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cloudpickle
import dask
import pytest
from certificates import Authority, Holder, jwt, proxy, write
from distributed import Client, LocalCluster, performance_report
from distributed.protocol import deserialize, serialize

import af_kit as af
from af_kit.credentials.secret import SecretBytes, file_of, remove_secret, write_secret
from af_kit.credentials.x509 import parse_proxy
from af_kit.errors import InputError
from af_kit.plugins.credential_plugin import CarrierPlugin
from af_kit.plugins.proxy import X509ProxyPlugin, send_proxy
from af_kit.plugins.tokens import TokenPlugin, parse_token, send_token

SAMPLE = Path(__file__).parents[1] / "samples" / "plain_zstd.root"


@pytest.fixture(scope="module", autouse=True)
def no_credentials():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("X509_USER_PROXY", "X509_CERT_DIR", "XrdSecGSIUSERPROXY", "BEARER_TOKEN", "BEARER_TOKEN_FILE"):
            patch.delenv(name, raising=False)
        yield


# ---- the holder


def test_nothing_shows_the_content():
    secret = SecretBytes(b"hunter2")
    assert secret.reveal() == b"hunter2"
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>60}",
        str([secret]),
        f"{[secret]}",
        pprint.pformat(secret),
    ]
    shown += [repr(InputError(secret)), str(dir(secret)), repr(serialize(secret)[0]), str(secret._reveal)]
    stream = io.StringIO()
    logger = logging.Logger("shown")
    logger.addHandler(logging.StreamHandler(stream))
    logger.error("%s %r", secret, secret, extra={"more": secret})
    shown.append(stream.getvalue())
    assert not [text for text in shown if "hunter2" in text]
    assert "7 bytes, not shown" in repr(secret)


def test_it_compares_and_tells_its_digest():
    assert SecretBytes(b"a") == SecretBytes(b"a") != SecretBytes(b"b")
    assert SecretBytes(b"a") != b"a"
    assert SecretBytes(b"a").digest() == SecretBytes(b"a").digest() != SecretBytes(b"b").digest()
    assert len({SecretBytes(b"a"), SecretBytes(b"a")}) == 1


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps, lambda secret: cloudpickle.dumps(lambda: secret)])
def test_it_is_not_pickled(dumps):
    with pytest.raises(TypeError, match="A secret is not pickled"):
        dumps(SecretBytes(b"hunter2"))


def test_it_is_copied_and_goes_over_dasks_connections():
    secret = SecretBytes(b"hunter2")
    assert copy.copy(secret) is copy.deepcopy(secret) is secret
    assert deserialize(*serialize(secret)) == secret


def test_a_plugin_holds_no_secret_and_always_pickles_the_same():
    for plugin in (X509ProxyPlugin, TokenPlugin):
        assert pickle.dumps(plugin()) == pickle.dumps(plugin())
        assert plugin.name.startswith("af-secret-")
        assert len(pickle.dumps(plugin())) < 200


# ---- the file

WATCHED = """
import os, stat, sys
from pathlib import Path
from af_kit.credentials.secret import SecretBytes, write_secret
os.umask(0)
target = Path(sys.argv[1]) / "folder" / "name"
events, looking = [], []
def hook(event, args):
    if event.startswith(("open", "os.")) and not looking:
        events.append(event)
        looking.append(True)
        for path in [target.parent, *(target.parent.glob("*") if target.parent.exists() else [])]:
            if path.exists() and path.stat().st_mode & 0o077:
                print("OPEN TO OTHERS", event, path, oct(path.stat().st_mode))
        if not target.exists() or target.read_bytes() not in (b"first", b"second"):
            print("NOT WHOLE", event)
        looking.clear()
write_secret(target, SecretBytes(b"first"))
inode = target.stat().st_ino
sys.addaudithook(hook)
write_secret(target, SecretBytes(b"second"))
write_secret(target.parent.parent / "other" / "name", SecretBytes(b"third"))
looking.append(True)
print(*events)
print(target.read_bytes(), inode != target.stat().st_ino, oct(target.stat().st_mode), os.listdir(target.parent))
"""


def test_it_never_has_another_mode_and_is_never_absent(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert "OPEN TO OTHERS" not in done.stdout
    assert "NOT WHOLE" not in done.stdout
    events, result = done.stdout.splitlines()
    assert "os.rename" in events  # the hook saw what it is to see
    assert "os.chmod" not in events
    assert result == "b'second' True 0o100600 ['name']"
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o700


def test_a_file_that_cannot_be_put_in_place_leaves_nothing(tmp_path):
    target = file_of(tmp_path, "name")
    target.mkdir(parents=True)
    target.parent.chmod(0o700)
    with pytest.raises(OSError, match="directory"):
        write_secret(target, SecretBytes(b"hunter2"))
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_that_is_a_link_or_open_to_others_is_not_used(tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "af-secrets").symlink_to("elsewhere")
    with pytest.raises(OSError):  # noqa: PT011 - ENOTDIR or ELOOP
        write_secret(file_of(tmp_path, "name"), SecretBytes(b"hunter2"))
    assert not list((tmp_path / "elsewhere").iterdir())
    (tmp_path / "af-secrets").unlink()
    (tmp_path / "af-secrets").mkdir()
    (tmp_path / "af-secrets").chmod(0o750)
    with pytest.raises(PermissionError, match=r"open to others .*mode 0750"):
        write_secret(file_of(tmp_path, "name"), SecretBytes(b"hunter2"))


def test_removing(tmp_path):
    target = file_of(tmp_path, "name")
    write_secret(target, SecretBytes(b"hunter2"))
    remove_secret(target)
    assert not list(tmp_path.iterdir())
    remove_secret(target)


# ---- exceptions


def test_no_exception_shows_it_not_even_with_variables():
    authority = Authority()
    alice = authority.user()
    good, other = proxy(alice), proxy(alice)
    token = jwt(exp="soon")
    damaged = good.pem().replace(b"PRIVATE KEY-----\n", b"PRIVATE KEY-----\nAAAA", 1)
    bad = [
        alice.pem(),
        good.pem(password=b"pass phrase"),
        Holder(good.certificate, other.key, good.above).pem(),
        Holder(good.certificate, good.key).pem(),
        damaged,
        damaged.replace(b"-----BEGIN CERTIFICATE-----\n", b"-----BEGIN CERTIFICATE-----\nAAAA"),
        b"".join(damaged.partition(b"-----BEGIN RSA")[1:]),
    ]
    seen = []
    for parse, content in [*((parse_proxy, content) for content in bad), (parse_token, token), (parse_token, bad[0])]:
        hidden = SecretBytes(content)
        try:
            parse(hidden, "/tmp/here")
        except InputError as error:
            shown = traceback.TracebackException.from_exception(error, capture_locals=True)
            ours = [frame for frame in shown.stack if "af_kit" in frame.filename]
            assert ours
            assert any(frame.locals for frame in ours)
            seen.append(str(shown) + repr([frame.locals for frame in ours]))
    assert len(seen) == 9
    lines = [*alice.secret_lines(), *good.secret_lines(), *other.secret_lines(), token.decode().split(".")[2]]
    assert not found(lines, dict(enumerate(seen)))


# ---- a whole day on a cluster


def found(lines: list[str], places: dict) -> list:
    """The places in which a line of the secret stands, as text or in binary."""
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
    """The pages of a dashboard; those that do not exist are left out."""
    taken = {}
    for path in paths:
        with suppress(urllib.error.HTTPError), urllib.request.urlopen(f"{base}/{path}", timeout=30) as answer:
            taken[f"{base}/{path}"] = answer.read().decode(errors="replace")
    return taken


def dashboards(cluster, client) -> dict[str, str]:
    """What the scheduler and the workers serve by HTTP."""
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


def files(*folders: Path) -> Iterator[tuple[str, bytes, int]]:
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                yield str(path), path.read_bytes(), stat.S_IMODE(path.stat().st_mode)


def test_a_day_on_a_cluster(tmp_path, capfd, caplog, monkeypatch):
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
        dask.config.set({"logging.distributed": "debug", "distributed.admin.log-length": 100_000}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            local_directory=str(local),
        ) as cluster,
        Client(cluster) as client,
    ):
        client.run(lambda: logging.getLogger("distributed").setLevel(logging.DEBUG))
        with performance_report(filename=str(tmp_path / "performance.html")):
            sent = send_proxy(client, source, cert_dir=folder, watch=False)
            sent_token = send_token(client, token_source)
            write(source, second.pem())
            sent.refresh()
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
            for name, secret in (("handle", sent), ("secret", SecretBytes(second.pem()))):
                with pytest.raises(Exception, match=r"not pickled|Could not serialize") as caught:
                    client.submit(lambda thing: thing, secret, key=f"pickled-{name}").result()
                places[f"exception of {name}"] = "".join(traceback.format_exception(caught.value))
        restarted = client.run(os.getpid)
        client.restart()
        assert not set(restarted.values()) & set(client.run(os.getpid).values())
        client.run(lambda: logging.getLogger("distributed").setLevel(logging.DEBUG))
        sent.check()
        sent_token.check()

        objects = [sent, sent.info, sent.workers, sent_token, sent_token.info, X509ProxyPlugin(), client, cluster]
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
        expected = {*sent.workers.values(), *sent_token.workers.values()}
        assert len(expected) == 4
        assert set(found(lines, {path: content for path, (content, _) in on_disk.items()})) == expected
        assert {on_disk[path][1] for path in expected} == {0o600}
    for path in ("performance.html", "dump.yaml", "checkpoint"):
        assert (tmp_path / path).exists()
    places |= {path: content for path, content, _ in files(tmp_path) if not path.startswith(str(mine))}
    places["what processes wrote"] = "".join(capfd.readouterr())
    places["log of this process"] = caplog.text
    assert "Message from" in caplog.text  # Dask's most talkative level was on
    assert len(places) > 40
    assert found(lines, places) == []
    assert found(lines, {"control": second.pem()}) == ["control"]


def test_a_worker_with_another_version_of_the_kit_does_not_log_it(tmp_path):
    """Dask writes a plugin that a worker cannot load into the worker's log, as it was sent."""
    authority = Authority()
    good = proxy(authority.user())
    source = write(tmp_path / "x509up", good.pem())
    other = tmp_path / "other" / "af_kit" / "plugins"
    other.mkdir(parents=True)
    for path, text in (("../__init__.py", ""), ("__init__.py", ""), ("sizeof.py", "def register(sizeof): pass")):
        (other / path).write_text(text)
    command = f"-m distributed.cli.dask_worker --no-nanny --no-dashboard --host 127.0.0.1 --local-directory {tmp_path}"
    with (
        LocalCluster(
            n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", local_directory=str(tmp_path)
        ) as cluster,
        Client(cluster) as client,
    ):
        send_proxy(client, source, cert_dir=authority.folder(tmp_path / "certificates"))
        worker = subprocess.run(
            [sys.executable, *command.split(), cluster.scheduler_address],
            env={**os.environ, "PYTHONPATH": str(tmp_path / "other")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    output = worker.stdout + worker.stderr
    assert "Failed to deserialize" in output  # the danger is there
    assert found(good.secret_lines(), {"log": output}) == []


def test_every_plugin_of_credentials_is_left_out_of_checkpoint_keys():
    assert all(plugin.name.startswith("af-secret-") for plugin in CarrierPlugin.__subclasses__())
