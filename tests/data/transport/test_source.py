"""Bytes from the local disk and over HTTP: the same numbers, few requests, clear errors."""

import http.server
import re
import threading
from collections import Counter
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from bits import SAMPLES, cut, same, whole, write_nano
from hypothesis import given
from hypothesis import strategies as st

from af_kit.data.reading.read import read
from af_kit.data.reading.reader import Reader
from af_kit.data.transport.source import open_source
from af_kit.errors import ReadError
from af_kit.run.plan import plan


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve a folder with byte ranges, and misbehave according to ``server.mood``."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        mood = self.server.mood
        path = Path(self.server.folder) / self.path.lstrip("/")
        asked = self.headers.get("Range")
        with self.server.lock:
            self.server.requests.append((self.command, asked))
        if mood == "reset" and body:
            self.close_connection = True
            self.connection.shutdown(2)
            return
        if mood in (403, 500, 503) or not path.is_file():
            self.send_error(mood if isinstance(mood, int) else 404)
            return
        data, status = path.read_bytes(), 200
        size = len(data)
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked or "")
        if found and mood != "no ranges":
            first, last = int(found[1]), min(int(found[2]), size - 1)
            data, status = data[first : last + 1], 206
        promised = len(data)
        if mood == "short":
            data = data[: len(data) // 2]
            promised = len(data)
        elif mood == "broken off":
            data = data[: len(data) // 2]
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(promised))
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if body:
            self.wfile.write(data)
        if mood == "broken off":
            self.close_connection = True


@pytest.fixture
def server(tmp_path):
    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):  # clients may disconnect
            pass

    made = Server(("127.0.0.1", 0), Handler)
    made.folder, made.mood, made.requests, made.lock = tmp_path, None, [], threading.Lock()
    made.url = f"http://127.0.0.1:{made.server_address[1]}"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def remote(server, tmp_path):
    """The chunk of a remote file; the requests for planning it are cleared."""
    write_nano(tmp_path / "nano.root", 400, clusters=4)
    chunk = whole({"d": {"files": {f"{server.url}/nano.root": "Events"}}})
    server.requests.clear()
    return chunk


def gets(server):
    return [asked for method, asked in server.requests if method == "GET"]


# ---- equal to local files ------------------------------------------------------------------------------------------


def test_a_plan_over_http_equals_the_local_plan(server, tmp_path):
    paths = [write_nano(tmp_path / f"{i}.root", 100, clusters=4, seed=i) for i in range(3)]
    here = plan([str(path) for path in paths], chunk_entries=30)
    there = plan([f"{server.url}/{path.name}:Events" for path in paths], chunk_entries=30)
    assert len(here) == len(there) == 12
    for a, b in zip(here, there, strict=True):
        assert (a.uuid, a.entry_start, a.entry_stop) == (b.uuid, b.entry_start, b.entry_stop)
        assert b.file == f"{server.url}/{Path(a.file).name}"
        for name in ("event", "Muon_pt"):
            same(read(b)[name], read(a)[name])


@pytest.mark.parametrize("name", ["plain_lz4", "unaligned", "unflushed", "rntuple"])
def test_every_branch_over_http_equals_the_local_one(server, tmp_path, name):
    (tmp_path / "f.root").write_bytes((SAMPLES / f"{name}.root").read_bytes())
    here, there = whole(tmp_path / "f.root"), whole({"d": {"files": {f"{server.url}/f.root": "Events"}}})
    for start, stop in [(0, here.layout.entries), (33, 77)]:
        mine, theirs = read(cut(here, start, stop)), read(cut(there, start, stop))
        for branch in ["Muon_pt", "i32", "Muon_charge"]:
            same(theirs[branch], mine[branch])


# ---- few requests --------------------------------------------------------------------------------------------------


def test_declared_branches_take_one_request_in_addition_to_the_header(server, remote):
    """The file is small, so all of its baskets are within the gap."""
    events = read(remote, ["Muon", "SV", "run"])
    assert len(gets(server)) <= 2
    _ = ak.sum(events.Muon.pt), ak.sum(events.SV.x), ak.sum(events.run)
    assert len(gets(server)) <= 2
    assert not [method for method, _ in server.requests if method == "HEAD"]


def test_undeclared_branches_take_at_most_one_request_per_basket(server, remote):
    events = read(remote)
    assert gets(server) == []
    _ = ak.sum(events.run)
    assert len(gets(server)) <= 1 + 4
    assert max(Counter(gets(server)).values()) == 1  # nothing twice
    _ = ak.sum(events.run)
    assert len(gets(server)) <= 1 + 4


def test_only_the_needed_bytes_are_transferred(server, remote):
    _ = ak.sum(read(cut(remote, 100, 200)).event)
    asked = sum(int(b) - int(a) + 1 for a, b in (re.findall(r"\d+", r) for r in gets(server)))
    assert asked <= remote.layout.columns["event"].sizes[1] + 512


ranges = st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 50_000)).map(lambda r: (r[0], sum(r))), max_size=30)


@given(ranges)
def test_local_and_remote_sources_return_ranges_in_the_order_requested(tmp_path_factory, wanted):
    import fsspec

    data = np.random.default_rng(1).bytes(350_000)
    path = tmp_path_factory.getbasetemp() / "bytes"
    if not path.exists():
        path.write_bytes(data)
    memory = fsspec.filesystem("memory")
    memory.pipe("/bytes", data)
    for source in (open_source(str(path)), open_source(f"file://{path}"), open_source("memory://bytes")):
        assert [bytes(piece) for piece in source.read(wanted)] == [data[a:b] for a, b in wanted]
        source.close()
        source.close()


# ---- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mood", "match", "transient"),
    [
        ("short", "is truncated or was changed while it was read: .* bytes .* received .* of|cannot be read", True),
        ("broken off", "cannot be read", True),
        ("reset", "cannot be read", True),
        ("no ranges", "is truncated or was changed while it was read|cannot be read", True),
        (500, "cannot be read.*500", True),
        (503, "cannot be read.*503", True),
        (403, "cannot be read.*403", None),
    ],
)
def test_a_server_that_fails_while_reading_is_a_read_error_with_the_address(server, remote, mood, match, transient):
    server.mood = mood
    for use in (lambda: read(remote, ["run"]), lambda: read(remote)["Muon_pt"].to_list()):
        with pytest.raises(ReadError, match=match) as caught:
            use()
        assert f"{server.url}/nano.root" in str(caught.value)
        with Reader(remote.file, remote.layout, 0, 400) as reader:
            with pytest.raises(ReadError) as caught:
                reader.numbers("event")
            assert reader.error is caught.value
        assert transient is None or caught.value.transient is transient
    server.mood = None
    assert len(read(remote)["Muon_pt"].to_list()) == 400  # the failure does not persist


def test_a_file_that_disappears(server, remote):
    (Path(server.folder) / "nano.root").unlink()
    with pytest.raises(ReadError, match=r"nano\.root cannot be read: FileNotFoundError") as caught:
        read(remote, ["run"])
    assert not caught.value.transient


def test_another_file_at_the_same_address(server, remote):
    write_nano(Path(server.folder) / "nano.root", 400, clusters=4, seed=5)
    with pytest.raises(ReadError, match=r"nano\.root is not the file that was planned"):
        read(remote, ["run"])


@pytest.mark.parametrize("mood", ["short", "broken off", "reset", 404, 500])
def test_a_server_that_fails_while_planning(server, tmp_path, mood):
    write_nano(tmp_path / "nano.root", 40)
    address = f"{server.url}/{'none' if mood == 404 else 'nano'}.root"
    server.mood = None if mood == 404 else mood
    reason = "is truncated" if mood == "short" else "cannot be read"
    with pytest.raises(ReadError, match=rf"1 of 1 files cannot be used: .* {reason}") as caught:
        plan({"d": {"files": {address: "Events"}}})
    assert address in str(caught.value)


def test_no_server_at_all(server, tmp_path):
    write_nano(tmp_path / "nano.root", 40)
    address = re.sub(r":\d+", ":1", server.url) + "/nano.root"  # nothing listens on port 1
    with pytest.raises(ReadError, match="cannot be read") as caught:
        plan({"d": {"files": {address: "Events"}}})
    assert address in str(caught.value)


def test_a_remote_file_that_is_not_a_root_file(server, tmp_path):
    (tmp_path / "page.root").write_text("<html>please log in</html>" * 100)
    with pytest.raises(ReadError, match=r"page\.root is not a ROOT file"):
        plan({"d": {"files": {f"{server.url}/page.root": "Events"}}})
    (tmp_path / "empty.root").touch()
    with pytest.raises(ReadError, match=r"empty\.root"):
        plan({"d": {"files": {f"{server.url}/empty.root": "Events"}}})


def test_a_truncated_file_on_a_server(server, tmp_path):
    data = write_nano(tmp_path / "whole.root", 400).read_bytes()
    (tmp_path / "half.root").write_bytes(data[: len(data) // 2])
    with pytest.raises(ReadError, match=r"half\.root is truncated"):
        plan({"d": {"files": {f"{server.url}/half.root": "Events"}}})


def test_what_cannot_be_opened():
    with pytest.raises(ReadError, match="cannot be read"):
        open_source("nosuchprotocol://host/file.root")
    with pytest.raises(ReadError, match="does not exist"):
        open_source("/no/such/file.root")
