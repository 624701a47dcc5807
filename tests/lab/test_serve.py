"""The server of a lab: whom it lets in, whatever the user's Jupyter configuration says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from lab_tools import Visitor

from af_kit.errors import ConnectError, InputError
from af_kit.lab import labs
from af_kit.lab.labs import Lab
from af_kit.lab.serve import choose_address, read_token

# The configuration of a user who wants no passwords on a laptop.
CARELESS = """
c.ServerApp.token = ""
c.IdentityProvider.token = ""
c.PasswordIdentityProvider.token = ""
c.ServerApp.ip = "0.0.0.0"
c.ServerApp.allow_remote_access = True
c.ServerApp.allow_origin = "*"
"""


@pytest.fixture
def lab(tmp_path) -> Lab:
    settings = {"root": str(tmp_path), "listen": "loopback", "interface": None, "login_hosts": [], "local_port": None}
    return labs.create("slurm", name=None, settings=settings, login="login")


def serve(lab: Lab, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "af_kit.lab.serve", str(lab.folder)]
    with lab.log.open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})


def test_a_careless_configuration_opens_nothing(lab, tmp_path):
    configuration = tmp_path / "jupyter"
    configuration.mkdir()
    for name in ("jupyter_server_config.py", "jupyter_lab_config.py"):
        (configuration / name).write_text(CARELESS)
    server = serve(lab, JUPYTER_CONFIG_DIR=str(configuration), JUPYTER_TOKEN="easy")
    try:
        deadline = time.monotonic() + 60
        while (endpoint := lab.endpoint()) is None:
            assert server.poll() is None, lab.log_text()
            assert time.monotonic() < deadline, lab.log_text()
            time.sleep(0.05)
        assert endpoint.address == "127.0.0.1"
        address = f"http://127.0.0.1:{endpoint.port}"
        assert Visitor(address, lab.token()).get("/api/contents")[0] == 200
        assert Visitor(address, lab.token()).get("/api/contents", Host="somewhere.else")[0] == 403
        assert Visitor(address).get("/api/contents")[0] == 403
        assert Visitor(address, "easy").get("/api/contents")[0] == 403
        runtime = json.loads(Visitor(address, lab.token()).get("/api/status")[1])
        assert runtime["kernels"] == 0
    finally:
        server.terminate()
        server.wait(timeout=60)
    assert lab.token() not in lab.log_text()


@pytest.mark.parametrize(
    ("mode", "text", "reason"),
    [(0o644, "x" * 43, "Others can read"), (0o600, "", "too short"), (None, "", "There is no token")],
)
def test_without_a_secret_token_the_server_does_not_start(tmp_path, mode, text, reason):
    path = tmp_path / "token"
    if mode is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(ConnectError, match=reason):
        read_token(path)


def test_the_address_that_reaches_the_login_node():
    assert choose_address(None, ["127.0.0.1"]) == "127.0.0.1"
    assert choose_address(None, ["no-such-host.invalid", "127.0.0.1"]) == "127.0.0.1"
    with pytest.raises(ConnectError, match=r"no-such-host\.invalid.*af_kit\.lab\.interface"):
        choose_address(None, ["no-such-host.invalid"])


def test_the_address_of_an_interface():
    assert choose_address("lo", ["no-such-host.invalid"]) == "127.0.0.1"
    with pytest.raises(InputError, match=r"'loo'.*'lo'"):
        choose_address("loo", [])
