"""The server of a lab, which its job runs on the worker: ``python -m af_kit.lab.serve FOLDER``.

The folder holds ``settings.json`` and ``token``, a file that only its owner can read. The server reads the token from
there, so it appears on no command line, in no environment and in no log. One line of the job's log says where the
server listens; every batch system brings the log back.

Other users work on the same machine. The server answers only requests with the token, and kernels talk to it through
sockets in a private folder: on a port, everybody could read what they print.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from af_kit.errors import AfKitError, ConnectError, InputError, nearest

# The start of the log line that says where the server listens; JSON follows.
_ANNOUNCEMENT = "af-kit lab listens: "
# The path of a socket may have 107 characters, of which that of a kernel needs 60 below the folder.
_LONGEST_FOLDER = 40
# Jupyter's security settings. Given like command-line options, they override the user's configuration files.
_SECURITY = {
    "ServerApp.port": "0",  # any free port
    "ServerApp.port_retries": "0",
    "ServerApp.sock": "",
    "ServerApp.base_url": "/",
    "ServerApp.certfile": "",  # the tunnel encrypts, and ends at 127.0.0.1 of the user's machine
    "ServerApp.keyfile": "",
    "ServerApp.open_browser": "False",
    "ServerApp.allow_unauthenticated_access": "False",  # also for handlers of extensions
    # Requests through the tunnel are for 127.0.0.1. A web page whose own name resolves there is refused.
    "ServerApp.allow_remote_access": "False",
    "ServerApp.allow_origin": "",
    "ServerApp.allow_origin_pat": "",
    "ServerApp.disable_check_xsrf": "False",
    "ServerApp.identity_provider_class": "jupyter_server.auth.identity.PasswordIdentityProvider",
    "PasswordIdentityProvider.hashed_password": "",
    "PasswordIdentityProvider.allow_password_change": "False",
    "KernelManager.transport": "ipc",
}


@dataclass(frozen=True)
class Endpoint:
    """Where a lab listens."""

    host: str
    address: str
    port: int

    def announce(self) -> None:
        """Print the line of the log by which the lab is found."""
        print(_ANNOUNCEMENT + json.dumps(asdict(self)), flush=True)

    @classmethod
    def last_in(cls, log: str) -> Endpoint | None:
        """Return the last announcement in a log, or None: a job that was restarted listens elsewhere."""
        found = re.findall(f"{_ANNOUNCEMENT}(.*)\n", log)
        return cls(**json.loads(found[-1])) if found else None


def main(arguments: list[str]) -> int:
    """Serve until the job ends. Return 1 if the server did not start."""
    folder = Path(arguments[0])
    runtime = _runtime_folder()
    try:
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        token = read_token(folder / "token")
        server = _server(settings, token, runtime)
        _set_dashboard_links(settings["local_port"] or server.port)
        endpoint = Endpoint(socket.gethostname(), server.ip, server.port)
        server.io_loop.add_callback(endpoint.announce)  # after it listens, as it does in its loop
        server.start()
    except AfKitError as error:
        print(f"af-kit lab: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        shutil.rmtree(runtime, ignore_errors=True)
    return 0


def read_token(path: Path) -> str:
    """Return the token from a file that nobody else can read, or raise ConnectError."""
    try:
        token = path.read_text(encoding="utf-8")
        others = path.stat().st_mode & 0o077
    except OSError as error:
        raise ConnectError(f"There is no token in {path} ({error.strerror}), so the lab does not start.") from error
    if others or len(token) < 32:
        problem = "Others can read the token" if others else "The token is too short"
        raise ConnectError(f"{problem}, so the lab does not start: {path}.")
    return token


def choose_address(interface: str | None, login_hosts: Iterable[str]) -> str:
    """Return the address of a network interface, or without one the address from which this machine reaches the login
    node. Of its names, the first one that this machine knows counts.
    """
    if interface:
        from distributed.utils import get_ip_interface

        try:
            return str(get_ip_interface(interface))
        except ValueError:
            raise InputError(
                f"{socket.gethostname()} has no network interface {interface!r} with an IPv4 address "
                f"(af_kit.lab.interface).{nearest(interface, (name for _, name in socket.if_nameindex()))}"
            ) from None
    reasons = []
    for host in login_hosts:
        try:
            # ssh accepts both versions, but clusters usually use IPv4
            found = sorted(socket.getaddrinfo(host, 22, type=socket.SOCK_DGRAM), key=lambda e: e[0] != socket.AF_INET)
            family, socket_type, protocol, _, address = found[0]
            with socket.socket(family, socket_type, protocol) as sock:
                sock.connect(address)  # sends nothing: the operating system only chooses a route
                return str(sock.getsockname()[0])
        except OSError as error:
            reasons.append(f"{host}: {error.strerror or error}")
    raise ConnectError(
        f"{socket.gethostname()} has no route to the login node ({'; '.join(reasons)}), so the address to listen on is "
        "unknown. Set af_kit.lab.interface to the worker's network, such as eth0 or ib0."
    )


def _runtime_folder() -> Path:
    """Create a folder for Jupyter's runtime files on the worker's disk: in a shared home, they could be mixed up."""
    usual = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="af-kit-lab-", dir=usual if len(usual) <= _LONGEST_FOLDER else "/tmp"))


def _server(settings: dict[str, Any], token: str, runtime: Path) -> Any:
    """Return a server that is ready to start, after checking its security settings."""
    if settings["listen"] == "loopback":
        ip = "127.0.0.1"
    else:
        ip = choose_address(settings["interface"], settings["login_hosts"])
    os.environ["JUPYTER_RUNTIME_DIR"] = str(runtime)  # before Jupyter is imported
    root = Path(settings["root"])
    if not root.is_dir():  # no shared file system: files that are saved here are lost with the job
        root = Path.cwd()
    if "HOME" not in os.environ:  # HTCondor does not set it
        home = Path(pwd.getpwuid(os.getuid()).pw_dir)
        os.environ["HOME"] = str(home if os.access(home, os.W_OK) else Path.cwd())
    from jupyterlab.labapp import LabApp  # type: ignore[import-untyped]
    from traitlets.config import Config

    secured = {
        **_SECURITY,
        "ServerApp.ip": ip,
        "ServerApp.root_dir": str(root),
        "ServerApp.allow_root": str(os.geteuid() == 0),
        "PasswordIdentityProvider.token": token,
    }
    # Dashboards on this machine, by any of its names that Dask uses in links.
    hosts = sorted({"localhost", "127.0.0.1", ip, socket.gethostname(), socket.getfqdn()})
    server = LabApp.initialize_server(
        argv=[f"--{name}={value}" for name, value in secured.items()],
        config=Config({"ServerProxy": {"host_allowlist": hosts}}),
    )
    for name, wanted, found in (
        ("token", token, server.identity_provider.token),
        ("password", "", getattr(server.identity_provider, "hashed_password", "")),
        ("ip", ip, server.ip),
        ("sock", "", server.sock),
    ):
        if found != wanted:
            raise InputError(f"Jupyter's configuration on {socket.gethostname()} overrides the lab's {name}.")
    server.no_browser_open_file = True  # that file would contain the token
    return server


def _set_dashboard_links(port: int) -> None:
    """Make Dask's dashboard links, in notebooks and in the panel, lead through the server and the tunnel."""
    import dask.config

    from af_kit.cluster.jupyter.dashboard import is_dasks_link

    if is_dasks_link():
        link = f"http://127.0.0.1:{port}/proxy/{{host}}:{{port}}/status"
        dask.config.set({"distributed.dashboard.link": link})
        os.environ["DASK_DISTRIBUTED__DASHBOARD__LINK"] = link


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
