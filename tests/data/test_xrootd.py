"""What reading from XRootD servers decides by itself; tests/services/test_xrootd.py has the servers."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from af_kit.data.transport import servers, xrootd
from af_kit.errors import ReadError

ranges = st.lists(
    st.tuples(st.integers(0, 9_000_000), st.integers(0, 3_000_000)).map(lambda r: (r[0], sum(r))), max_size=30
)


@given(ranges)
def test_each_range_is_in_one_that_is_asked_for_and_little_else_is(wanted):
    wide, home = xrootd._coalesced(wanted)
    assert wide == sorted(wide)
    for (start, stop), i in zip(wanted, home, strict=True):
        assert (i == -1) == (start == stop)
        assert i == -1 or wide[i][0] <= start < stop <= wide[i][1]
    longest = max([stop - start for start, stop in wanted], default=0)
    assert all(stop - start <= max(xrootd._RANGE_BYTES, longest) for start, stop in wide)
    assert sum(b - a for a, b in wide) <= sum(b - a for a, b in wanted) + xrootd._GAP * len(wanted)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, xrootd._RANGE_BYTES)), max_size=5000))
def test_no_request_is_more_than_a_server_takes(sizes):
    parts = [(i, start, start + size) for i, (start, size) in enumerate(sizes)]
    requests = list(xrootd._requests(parts))
    assert [part for request in requests for part in request] == parts
    assert all(0 < len(request) <= 1024 for request in requests)
    assert all(sum(b - a for _, a, b in request) <= xrootd._REQUEST_BYTES for request in requests)


def test_a_new_token_gives_a_new_connection(tmp_path, monkeypatch):
    monkeypatch.delenv("BEARER_TOKEN", raising=False)
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(tmp_path / "token"))
    url = "root://eos.cern.ch:1094//eos/a.root"
    assert xrootd.channel(url) == url  # there is none
    (tmp_path / "token").write_text("one")
    first = xrootd.channel(url)
    user, _, rest = first.removeprefix("root://").partition("@")
    assert (len(user), rest) == (8, "eos.cern.ch:1094//eos/a.root")
    assert xrootd.channel(url) == first
    (tmp_path / "new").write_text("two")
    os.replace(tmp_path / "new", tmp_path / "token")  # noqa: PTH105
    assert xrootd.channel(url) not in (url, first)
    assert xrootd.channel("root://alice@eos.cern.ch//a") == "root://alice@eos.cern.ch//a"
    monkeypatch.setenv("BEARER_TOKEN", "fixed")
    assert xrootd.channel(url) == url


def test_a_server_that_did_not_answer_comes_last_for_a_while(monkeypatch):
    monkeypatch.setattr(servers, "_failed", {})
    replicas = ("root://a//f", "root://b//f", "root://a:1094//f", "/local/f")
    assert servers.in_order(replicas) == list(replicas)
    servers.did_not_answer("root://a//other")
    assert servers.in_order(replicas) == ["root://b//f", "root://a:1094//f", "/local/f", "root://a//f"]
    servers.answered("root://a//other")
    assert servers.in_order(replicas) == list(replicas)
    servers.did_not_answer("root://a//other")
    monkeypatch.setattr(servers, "_REST_S", 0.0)
    assert servers.in_order(replicas) == list(replicas)


class Status:
    def __init__(self, code, errno=0, message=""):
        self.code, self.errno, self.message = code, errno, message


@pytest.mark.parametrize(
    ("status", "match", "transient"),
    [
        (Status(400, 3011, "[ERROR] Server responded with an error: [3011] no"), r"f does not exist .*\[3011\]", False),
        (Status(400, 3007, "[ERROR] Server responded with an error: [3007] io"), r"cannot be read: \[3007\] io", True),
        (Status(108, 0, "[FATAL] Connection error"), r"its server does not answer \(Connection error\)", True),
        (Status(206, 0, "[ERROR] Operation expired"), r"its server does not answer \(Operation expired\)", True),
        (Status(204, 0, "[FATAL] Auth failed: No protocols"), r"the server refused it \(Auth failed: No", False),
        (Status(400, 3010, "[ERROR] [3010] permission denied"), r"the server refused it \(\[3010\] permission", False),
    ],
)  # fmt: skip
def test_what_a_status_means(monkeypatch, status, match, transient):
    monkeypatch.setattr(servers, "_failed", {})
    monkeypatch.setattr(xrootd, "_why", lambda: " Because.")
    error = xrootd.status_error("root://host//f", status)
    with pytest.raises(ReadError, match=match):
        raise error
    assert error.transient is transient
    assert str(error).endswith("Because.") == ("refused" in str(error))
    assert servers.is_resting("root://host//g") == ("does not answer" in str(error))


def test_a_reason_that_cannot_be_found_out_does_not_hide_the_refusal():
    import dask

    for name, words in (("af_kit.nowhere.explain", "ModuleNotFoundError"), ("", "")):
        with dask.config.set({"af_kit.data.auth_diagnosis": name}):
            said = str(xrootd.status_error("root://host//f", Status(204, 0, "Auth failed")))
        assert "the server refused it (Auth failed)." in said
        assert words in said
