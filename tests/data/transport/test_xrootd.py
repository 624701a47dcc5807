"""Reading from XRootD servers, as far as it needs no server; tests/services/test_xrootd.py has the servers."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from af_kit.data.transport import servers, xrootd
from af_kit.errors import ReadError


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, xrootd._RANGE_BYTES)), max_size=5000))
def test_requests_stay_within_the_limits_of_a_server(sizes):
    parts = [(i, start, start + size) for i, (start, size) in enumerate(sizes)]
    requests = list(xrootd._requests(parts))
    assert [part for request in requests for part in request] == parts
    assert all(0 < len(request) <= 1024 for request in requests)
    assert all(sum(b - a for _, a, b in request) <= xrootd._REQUEST_BYTES for request in requests)


def test_a_new_token_gives_a_new_connection(tmp_path, monkeypatch):
    monkeypatch.delenv("BEARER_TOKEN", raising=False)
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(tmp_path / "token"))
    url = "root://eos.cern.ch:1094//eos/a.root"
    assert xrootd.connection_url(url) == url  # no token file
    (tmp_path / "token").write_text("one")
    first = xrootd.connection_url(url)
    user, _, rest = first.removeprefix("root://").partition("@")
    assert (len(user), rest) == (8, "eos.cern.ch:1094//eos/a.root")
    assert xrootd.connection_url(url) == first
    (tmp_path / "new").write_text("two")
    os.replace(tmp_path / "new", tmp_path / "token")  # noqa: PTH105
    assert xrootd.connection_url(url) not in (url, first)
    assert xrootd.connection_url("root://alice@eos.cern.ch//a") == "root://alice@eos.cern.ch//a"
    monkeypatch.setenv("BEARER_TOKEN", "fixed")
    assert xrootd.connection_url(url) == url


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
def test_status_errors(monkeypatch, status, match, transient):
    monkeypatch.setattr(servers, "_failed", {})
    monkeypatch.setattr(xrootd, "_auth_diagnosis", lambda: " Because.")
    error = xrootd.status_error("root://host//f", status)
    with pytest.raises(ReadError, match=match):
        raise error
    assert error.transient is transient
    assert str(error).endswith("Because.") == ("refused" in str(error))
    assert servers.is_unreachable("root://host//g") == ("does not answer" in str(error))


def test_a_failing_diagnosis_does_not_hide_the_refusal():
    import dask

    for name, text in (("af_kit.nowhere.explain", "ModuleNotFoundError"), ("", "")):
        with dask.config.set({"af_kit.data.auth_diagnosis": name}):
            message = str(xrootd.status_error("root://host//f", Status(204, 0, "Auth failed")))
        assert "the server refused it (Auth failed)." in message
        assert text in message
