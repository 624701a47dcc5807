"""What the job runs on the worker: ``python -m af_kit.lab.serve FOLDER``.

The folder holds ``settings.json`` and ``token``, a file that only its owner can read. The token goes from there into
the server's memory: no command line, environment or log has it. Where the server listens is told in one line of the
job's log, which every batch system brings back.

Other users work on the same machine. The server answers nobody without the token, and kernels talk to it through
sockets in a private folder: on a port of theirs everybody could listen to what they print.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

from af_kit.errors import AfKitError, ConnectError, InputError
from af_kit.lab import address

ANNOUNCEMENT = "af-kit lab listens: "
"""Begins the line of the log that tells where; JSON follows."""

# A socket's path has room for 107 characters, and that of a kernel needs 60 below the folder.
_LONGEST_FOLDER = 40
# Jupyter's settings that decide who gets in. Given as if on its command line, they come before the user's own files.
_GUARDED = {
    "ServerApp.port": "0",  # a free one
    "ServerApp.port_retries": "0",
    "ServerApp.sock": "",
    "ServerApp.base_url": "/",
    "ServerApp.certfile": "",  # the tunnel encrypts, and its near end is 127.0.0.1
    "ServerApp.keyfile": "",
    "ServerApp.open_browser": "False",
    "ServerApp.allow_unauthenticated_access": "False",  # also to what extensions add
    # Through the tunnel every request is for 127.0.0.1: a web page that had another name resolve there is refused.
    "ServerApp.allow_remote_access": "False",
    "ServerApp.allow_origin": "",
    "ServerApp.allow_origin_pat": "",
    "ServerApp.disable_check_xsrf": "False",
    "ServerApp.identity_provider_class": "jupyter_server.auth.identity.PasswordIdentityProvider",
    "PasswordIdentityProvider.hashed_password": "",
    "PasswordIdentityProvider.allow_password_change": "False",
    "KernelManager.transport": "ipc",
}


def main(arguments: list[str]) -> int:
    """Serve until the job ends; 1 where that could not begin."""
    folder = Path(arguments[0])
    runtime = _private_folder()
    try:
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        token = read_token(folder / "token")
        server = _server(settings, token, runtime)
        _links_through_the_tunnel(settings["local_port"] or server.port)
        server.io_loop.add_callback(_announce, server)  # after it listens, which it does in its loop
        server.start()
    except AfKitError as error:
        print(f"af-kit lab: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        shutil.rmtree(runtime, ignore_errors=True)
    return 0


def read_token(path: Path) -> str:
    """The token, from a file that nobody else can read.

    Raises
    ------
    ConnectError
        There is none, or it is no secret.
    """
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            token = file.read().strip()
    except OSError as error:
        raise ConnectError(f"There is no token in {path} ({error.strerror}): without one nothing is served.") from error
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise ConnectError(f"Others can read the token in {path}: it is no secret, so nothing is served.")
    if len(token) < 32:
        raise ConnectError(f"The token in {path} is too short to be one.")
    return token


def _private_folder() -> Path:
    """For Jupyter's own files, on the worker's disk: a home that many machines share would mix them up."""
    usual = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="af-kit-lab-", dir=usual if len(usual) <= _LONGEST_FOLDER else "/tmp"))


def _server(settings: dict[str, Any], token: str, runtime: Path) -> Any:
    """A server that is ready to start, and guarded as it should be."""
    loopback = settings["listen"] == "loopback"
    ip = "127.0.0.1" if loopback else address.choose(interface=settings["interface"], towards=settings["towards"])
    os.environ["JUPYTER_RUNTIME_DIR"] = str(runtime)  # before Jupyter is imported
    root = Path(settings["root"])
    if not root.is_dir():  # machines that share no files: what is saved here goes with the job
        root = Path.cwd()
    if "HOME" not in os.environ:  # HTCondor sets none
        home = Path(pwd.getpwuid(os.getuid()).pw_dir)
        os.environ["HOME"] = str(home if os.access(home, os.W_OK) else Path.cwd())
    from jupyterlab.labapp import LabApp  # type: ignore[import-untyped]
    from traitlets.config import Config

    guarded = {
        **_GUARDED,
        "ServerApp.ip": ip,
        "ServerApp.root_dir": str(root),
        "ServerApp.allow_root": str(os.geteuid() == 0),
        "PasswordIdentityProvider.token": token,
    }
    # Dashboards that listen on this machine, by whichever of its names Dask tells.
    hosts = sorted({"localhost", "127.0.0.1", ip, socket.gethostname(), socket.getfqdn()})
    server = LabApp.initialize_server(
        argv=[f"--{name}={value}" for name, value in guarded.items()],
        config=Config({"ServerProxy": {"host_allowlist": hosts}}),
    )
    for name, wanted, found in (
        ("its token", token, server.identity_provider.token),
        ("password", "", getattr(server.identity_provider, "hashed_password", "")),
        ("ip", ip, server.ip),
        ("sock", "", server.sock),
    ):
        if found != wanted:
            raise InputError(f"Jupyter's configuration on {socket.gethostname()} insists on another {name}.")
    server.no_browser_open_file = True  # it would hold the token
    return server


def _links_through_the_tunnel(port: int) -> None:
    """Let Dask's links, of kernels and of the side bar, lead through the server: the browser reaches nothing else."""
    import dask.config

    from af_kit.cluster.jupyter.dashboard import is_dasks_link

    if is_dasks_link():
        link = f"http://127.0.0.1:{port}/proxy/{{host}}:{{port}}/status"
        dask.config.set({"distributed.dashboard.link": link})
        os.environ["DASK_DISTRIBUTED__DASHBOARD__LINK"] = link


def _announce(server: Any) -> None:
    where = {"host": socket.gethostname(), "address": server.ip, "port": server.port, "pid": os.getpid()}
    print(ANNOUNCEMENT + json.dumps(where), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
