"""Start and stop the servers: ``anonymous``, ``gsi`` (X.509 proxies) and ``token`` (bearer tokens), on one store.

And ``cache``, an XCache: ``root://CACHE//root://HOST//path`` gives the file of any server, and keeps what was read.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.common import (
    ServiceError,
    alone,
    default_folder,
    find_program,
    free_ports,
    is_free,
    is_running,
    load_state,
    make_folder,
    run_as,
    save_state,
    shared_folder,
    spawn,
    stop_all,
    wait_until_listening,
)
from services.xrootd.authority import Authority, write_private
from services.xrootd.issuer import make_key, make_token

__all__ = ["KINDS", "PROGRAMS", "XRootD", "installed", "missing_plugins"]

KINDS = ("anonymous", "gsi", "token", "cache")
PROGRAMS = ("xrootd", "gcc", "openssl", "setpriv")
"""The programs that must be there."""
PLUGINS = ("libXrdSecgsi-*.so", "libXrdSecztn-*.so", "libXrdAccSciTokens-*.so", "libXrdPfc-*.so")
"""The server's plugins that must be there, which some distributions have in packages of their own."""
USER = "xrootd"  # the daemon refuses to run as root; Debian's package makes this user
LOOPBACK = Path(__file__).with_name("loopback.c")

_COMMON = """\
xrd.port {port}
xrd.network nodnr
all.adminpath {admin}
all.pidpath {admin}
"""
_STORE = """\
all.export /store
all.export /eos
oss.localroot {data}
"""
# An origin of "=" forwards to the server in the path; 1g is the least memory that it takes.
_CACHE = """\
all.export /root:/ outplace
oss.localroot {files}
ofs.osslib libXrdPss.so
pss.origin =
pss.cachelib libXrdPfc.so
pfc.ram 1g
"""
# crl:0 no revocation lists; gmapopt:2 only names in the grid map may log on; dlgpxy:0 the proxy stays with the client
_GSI = """\
xrootd.seclib libXrdSec.so
sec.protocol gsi -certdir:{ca} -cert:{certificate} -key:{key} -gridmap:{gridmap} -gmapopt:2 -crl:0 -dlgpxy:0
sec.protbind * only gsi
"""
_TOKEN = """\
xrootd.seclib libXrdSec.so
xrd.tlsca certdir {ca}
xrd.tls {certificate} {key}
xrootd.tls all
sec.protocol ztn
sec.protbind * only ztn
ofs.authorize 1
ofs.authlib libXrdAccSciTokens.so config={scitokens}
"""
_SCITOKENS = """\
[Global]
audience = {audience}

[Issuer af-kit]
issuer = {issuer}
base_path = /
default_user = {user}
"""


def missing_plugins() -> list[str]:
    """Those of `PLUGINS` that are not installed."""
    folders = [folder for pattern in ("lib/*", "lib64", "lib") for folder in Path("/usr").glob(pattern)]
    return [name for name in PLUGINS if not any(any(folder.glob(name)) for folder in folders)]


def installed() -> bool:
    """Whether the servers can run here; an error where they were asked for (``AF_KIT_REQUIRE``) and cannot."""
    try:
        for name in PROGRAMS:
            find_program(name)
        if absent := missing_plugins():
            raise ServiceError(f"xrootd is not installed with {', '.join(absent)}.")
    except ServiceError:
        if "xrootd" in os.environ.get("AF_KIT_REQUIRE", "").split(","):
            raise
        return False
    return True


@dataclass(frozen=True)
class XRootD:
    """The servers of one folder, running or not.

    Parameters
    ----------
    folder : Path
        Configurations, logs, certificates, and the files that the servers offer, below ``data``.
    """

    folder: Path = field(default_factory=lambda: default_folder("xrootd"))

    @property
    def data(self) -> Path:
        """What the servers offer, as a local folder: ``data/store/a.root`` is ``root://HOST//store/a.root``."""
        return self.folder / "data"

    @property
    def authority(self) -> Authority:
        """Who issues certificates and proxies that the servers accept."""
        return Authority(self.folder / "ca")

    def start(self, kinds: Iterable[str] = KINDS) -> XRootD:
        """Start the servers that do not run; one that was started before comes back on its old port."""
        with alone(make_folder(self.folder)):
            self._start(list(kinds))
        return self

    def _start(self, kinds: list[str]) -> None:
        user, as_user = run_as(USER)
        for top in ("store", "eos"):
            shared_folder(self.data / top, user)
        preload = self._compiled()
        state = load_state(self.folder)
        missing = [kind for kind in kinds if kind not in self._running(state)]
        if "token" in missing and "issuer" not in self._running(state):
            missing.append("issuer")
        ports = dict(zip(missing, free_ports(len(missing)), strict=True))
        old = {kind: state[kind]["port"] for kind in missing if kind in state}
        ports.update({kind: port for kind, port in old.items() if is_free(port)})
        if missing:
            self.authority.create()
        for kind in sorted(missing, key=lambda kind: kind != "issuer"):  # its address is in the token server's file
            if kind == "issuer":
                started = self._start_issuer(ports[kind])
            else:
                started = self._start_server(kind, ports[kind], user, as_user, preload, state)
            state[kind] = {**started, "port": ports[kind]}
            save_state(self.folder, state)
        for kind in missing:
            wait_until_listening(ports[kind], state[kind], self.log(kind))

    def stop(self, kinds: Iterable[str] | None = None) -> None:
        """Stop all servers, or some; their files and ports stay for the next start."""
        state = load_state(self.folder)
        stop_all([state[kind] for kind in (state if kinds is None else kinds) if kind in state])

    def url(self, kind: str, path: str = "") -> str:
        """The address of a server, or of a file on it, such as ``/store/a.root``."""
        state = load_state(self.folder)
        if kind not in state:
            raise ServiceError(f"The {kind} server was not started in {self.folder}.")
        # A certificate holds for a name.
        host = "localhost" if kind in ("gsi", "token") else "127.0.0.1"
        return f"root://{host}:{state[kind]['port']}/{path}"

    def running(self) -> dict[str, int]:
        """The servers that run, and their process ids."""
        state = load_state(self.folder)
        return {kind: state[kind]["pid"] for kind in self._running(state)}

    def log(self, kind: str) -> Path:
        """The log file of a server."""
        return self.folder / f"{kind}.log"

    def token(self, scope: Iterable[str] = ("storage.read:/",), *, lifetime_s: float = 3600, **claims: Any) -> str:
        """A bearer token that the token server accepts, unless other claims are asked for."""
        issuer = f"https://localhost:{load_state(self.folder)['issuer']['port']}"
        return make_token(self.folder / "ca", issuer, list(scope), lifetime_s=lifetime_s, **claims)

    def proxy(self, path: Path, user: str = "alice", *, lifetime_s: float = 12 * 3600) -> Path:
        """A proxy in a file of its own: of ``alice``, whom the GSI server knows, or of anybody else."""
        return self.authority.write_proxy(path, user, lifetime_s=lifetime_s)

    def environment(self) -> dict[str, str]:
        """What a client's process needs, besides a proxy or a token."""
        return {"X509_CERT_DIR": str(self.authority.directory)}

    def _running(self, state: Mapping[str, Any]) -> list[str]:
        return [kind for kind, process in state.items() if is_running(process)]

    def _compiled(self) -> Path:
        library = self.folder / "loopback.so"
        if not library.exists() or library.stat().st_mtime < LOOPBACK.stat().st_mtime:
            command = [find_program("gcc"), "-shared", "-fPIC", "-O1", "-o", str(library), str(LOOPBACK), "-ldl"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ServiceError(f"{LOOPBACK} does not compile: {done.stderr}")
        return library

    def _start_issuer(self, port: int) -> dict[str, int]:
        ca = self.authority
        ca.host("localhost")
        files = [ca.folder / "host-localhost.pem", ca.folder / "host-localhost.key", make_key(ca.folder)]
        root = Path(__file__).parents[2]
        command = [sys.executable, "-m", "services.xrootd.issuer", str(port), *map(str, files)]
        return spawn(command, self.log("issuer"), environment={"PYTHONPATH": str(root)})

    def _start_server(
        self, kind: str, port: int, user: str | None, as_user: list[str], preload: Path, state: Mapping[str, Any]
    ) -> dict[str, int]:
        own = shared_folder(self.folder / kind, user)
        text = _COMMON.format(port=port, admin=own)
        if kind == "cache":
            text += _CACHE.format(files=shared_folder(own / "files", user))
        else:
            text += _STORE.format(data=self.data)
        environment = {"LD_PRELOAD": str(preload), "XDG_CACHE_HOME": str(own), "HOME": str(own)}
        if kind in ("gsi", "token"):
            certificate, key = self._host_files(own, user)
            names = {"ca": self.authority.directory, "certificate": certificate, "key": key}
        if kind == "gsi":
            gridmap = own / "grid-mapfile"
            gridmap.write_text(f'"{self.authority.user("alice").name}" alice\n')
            text += _GSI.format(gridmap=gridmap, **names)
        if kind == "token":
            scitokens = own / "scitokens.cfg"
            issuer = f"https://localhost:{state['issuer']['port']}"
            audience = f"root://localhost:{port}"
            scitokens.write_text(_SCITOKENS.format(audience=audience, issuer=issuer, user=user or getpass.getuser()))
            text += _TOKEN.format(scitokens=scitokens, **names)
            environment["AF_KIT_CA"] = str(self.authority.bundle)
        config = own / "xrootd.cfg"
        config.write_text(text)
        command = [*as_user, find_program("xrootd"), "-I", "v4", "-c", str(config), "-n", kind]
        return spawn(command, self.log(kind), environment=environment)

    def _host_files(self, own: Path, user: str | None) -> tuple[Path, Path]:
        """Copies of the host's certificate and key that only the daemon can read."""
        ca = self.authority
        ca.host("localhost")
        copies = []
        for suffix in ("pem", "key"):
            copy = own / f"host.{suffix}"
            write_private(copy, (ca.folder / f"host-localhost.{suffix}").read_bytes())
            if user is not None:
                shutil.chown(copy, user)
            copies.append(copy)
        return copies[0], copies[1]
