"""The ssh command, and the login node in it."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from af_kit.errors import InputError
from af_kit.lab import tunnel
from af_kit.lab.labs import Lab
from af_kit.lab.serve import Endpoint

ENDPOINT = Endpoint("node17", "10.0.0.5", 4567)
BEGIN = "ssh -N -o ExitOnForwardFailure=yes -L 127.0.0.1"


def lab(login: str, *, listen: str = "network", local_port: int | None = None) -> Lab:
    return Lab("lab-1", "slurm", Path("nowhere"), {"listen": listen, "local_port": local_port}, login)


@pytest.mark.parametrize(
    ("login", "options", "line"),
    [
        ("alice@login.site", {}, f"{BEGIN}:4567:10.0.0.5:4567 alice@login.site"),
        ("login", {}, f"{BEGIN}:4567:10.0.0.5:4567 {getpass.getuser()}@login"),
        ("alice@login:2222", {}, f"{BEGIN}:4567:10.0.0.5:4567 -p 2222 alice@login"),
        ("alice@login", {"local_port": 8888}, f"{BEGIN}:8888:10.0.0.5:4567 alice@login"),
    ],
)
def test_through_the_login_node(login, options, line):
    assert tunnel.ssh_line(lab(login, **options), ENDPOINT) == line


def test_through_the_login_node_to_the_worker():
    line = tunnel.ssh_line(lab("alice@login:2222", listen="loopback"), Endpoint("node17", "127.0.0.1", 4567))
    assert line == f"{BEGIN}:4567:127.0.0.1:4567 -J alice@login:2222 alice@node17"


def test_an_address_with_colons_is_put_in_brackets():
    line = tunnel.ssh_line(lab("alice@login"), Endpoint("node17", "fd00::5", 4567))
    assert line == f"{BEGIN}:4567:[fd00::5]:4567 alice@login"


def test_which_login_node(monkeypatch):
    assert tunnel.login("bob@there:22") == "bob@there:22"
    monkeypatch.setenv("SLURM_SUBMIT_HOST", "frontend")
    assert tunnel.login(None) == "frontend"
    assert tunnel.login_host("bob@there:22") == "there"


@pytest.mark.parametrize("login", ["a b", "login; rm -rf ~", "-oProxyCommand=x", "user@", "host:ssh"])
def test_what_is_not_a_host_does_not_become_part_of_a_command(login):
    with pytest.raises(InputError, match="user@host"):
        tunnel.login(login)
