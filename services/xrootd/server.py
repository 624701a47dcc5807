"""Four XRootD servers: ``anonymous``, ``gsi`` (X.509 proxies) and ``token`` (bearer tokens) on one store, and a cache.

The cache is an XCache: ``root://CACHE//root://HOST//path`` is the file of any server, cached once it has been read.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from af_kit.credentials.private_files import write_private
from services.common import ROOT, Service, ServiceError, find_program, run_as, shared_folder, stop_all
from services.xrootd.authority import Authority
from services.xrootd.issuer import make_key, make_token

__all__ = ["PROGRAMS", "SERVERS", "XRootD", "installed", "missing"]

SERVERS = ("anonymous", "gsi", "token", "cache")
PROGRAMS = ("xrootd", "gcc", "openssl", "setpriv")
"""The programs that the service needs."""
PLUGINS = ("libXrdSecgsi-*.so", "libXrdSecztn-*.so", "libXrdAccSciTokens-*.so", "libXrdPfc-*.so")
"""The server's plugins that the service needs; some distributions have them in separate packages."""
USER = "xrootd"  # the daemon refuses to run as root; Debian's package creates this user
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
# An origin of "=" forwards to the server in the path; 1g is the minimum of memory.
_CACHE = """\
all.export /root:/ outplace
oss.localroot {files}
ofs.osslib libXrdPss.so
pss.origin =
pss.cachelib libXrdPfc.so
pfc.ram 1g
"""
# crl:0 no revocation lists; gmapopt:2 only names in the grid map may log in; dlgpxy:0 the proxy stays with the client
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


def missing() -> str:
    """Return which of `PLUGINS` are not installed; empty if all are."""
    folders = [folder for pattern in ("lib/*", "lib64", "lib") for folder in Path("/usr").glob(pattern)]
    absent = [name for name in PLUGINS if not any(any(folder.glob(name)) for folder in folders)]
    return f"no {', '.join(absent)}" if absent else ""


def installed() -> bool:
    """Return whether the servers can run here; a `ServiceError` if they cannot and ``AF_KIT_REQUIRE`` names them."""
    try:
        for name in PROGRAMS:
            find_program(name)
        if absent := missing():
            raise ServiceError(f"xrootd is installed with {absent}.")
    except ServiceError:
        if "xrootd" in os.environ.get("AF_KIT_REQUIRE", "").split(","):
            raise
        return False
    return True


class XRootD(Service):
    """The servers of one folder, which also has the certificate authority, and below ``data`` the servers' files."""

    name = "xrootd"
    processes = ("issuer", *SERVERS)

    @property
    def data(self) -> Path:
        """The servers' files as a local folder: ``data/store/a.root`` is ``root://HOST//store/a.root``."""
        return self.folder / "data"

    @property
    def authority(self) -> Authority:
        """The certificate authority that the servers accept."""
        return Authority(self.folder / "ca")

    def start(self, servers: Iterable[str] = SERVERS) -> XRootD:
        """Start the servers that are not running; a server gets the port of its last start again."""
        with self._locked():
            servers, running = list(servers), self.running()
            if "token" in servers:  # its configuration has the issuer's address
                servers.insert(0, "issuer")
            absent = [name for name in servers if name not in running]
            ports = self._choose_ports(*absent)
            if absent:
                self.authority.create()
                self.authority.host("localhost")
            for name in absent:
                if name == "issuer":
                    self._start_issuer(ports[name])
                else:
                    self._start_server(name, ports[name])
            for name in absent:
                self._wait_until_listening(name, ports[name])
        return self

    def stop(self, servers: Iterable[str] | None = None) -> None:
        """Stop all servers, or some of them; their files and ports stay for the next start."""
        if servers is None:
            super().stop()
        else:
            stop_all([self.process(name) for name in servers])

    def url(self, server: str, path: str = "") -> str:
        """Return the address of a server, or of a file on it, such as ``/store/a.root``."""
        # The certificate is for a host name.
        host = "localhost" if server in ("gsi", "token") else "127.0.0.1"
        return f"root://{host}:{self.port(server)}/{path}"

    def token(self, scope: Iterable[str] = ("storage.read:/",), *, lifetime_s: float = 3600, **claims: Any) -> str:
        """Return a bearer token; the token server accepts it unless ``claims`` make it invalid."""
        return make_token(self.folder / "ca", self._issuer, list(scope), lifetime_s=lifetime_s, **claims)

    def proxy(self, path: Path, user: str = "alice", *, lifetime_s: float = 12 * 3600) -> Path:
        """Write a proxy of ``alice``, whom the GSI server accepts, or of another user, whom it does not."""
        return self.authority.write_proxy(path, user, lifetime_s=lifetime_s)

    def environment(self) -> dict[str, str]:
        """Return the variables that a client needs in addition to a proxy or a token."""
        return {"X509_CERT_DIR": str(self.authority.directory)}

    @property
    def _issuer(self) -> str:
        return f"https://localhost:{self.port('issuer')}"

    def _start_issuer(self, port: int) -> None:
        folder = self.authority.folder
        files = [folder / "host-localhost.pem", folder / "host-localhost.key", make_key(folder)]
        command = [sys.executable, "-m", "services.xrootd.issuer", str(port), *map(str, files)]
        self._spawn("issuer", command, {"PYTHONPATH": str(ROOT)})

    def _start_server(self, name: str, port: int) -> None:
        user, as_user = run_as(USER)
        own = shared_folder(self.folder / name, user)
        environment = {"LD_PRELOAD": str(self._loopback()), "XDG_CACHE_HOME": str(own), "HOME": str(own)}
        text = _COMMON.format(port=port, admin=own)
        if name == "cache":
            text += _CACHE.format(files=shared_folder(own / "files", user))
        else:
            for top in ("store", "eos"):
                shared_folder(self.data / top, user)
            text += _STORE.format(data=self.data)
        if name in ("gsi", "token"):
            certificate, key = (self._host_file(suffix, own, user) for suffix in ("pem", "key"))
            files = {"ca": self.authority.directory, "certificate": certificate, "key": key}
        if name == "gsi":
            gridmap = own / "grid-mapfile"
            gridmap.write_text(f'"{self.authority.user("alice").name}" alice\n')
            text += _GSI.format(gridmap=gridmap, **files)
        if name == "token":
            scitokens = own / "scitokens.cfg"
            audience = f"root://localhost:{port}"
            mapped = _SCITOKENS.format(audience=audience, issuer=self._issuer, user=user or getpass.getuser())
            scitokens.write_text(mapped)
            text += _TOKEN.format(scitokens=scitokens, **files)
            environment["AF_KIT_CA"] = str(self.authority.bundle)
        config = own / "xrootd.cfg"
        config.write_text(text)
        command = [*as_user, find_program("xrootd"), "-I", "v4", "-c", str(config), "-n", name]
        self._spawn(name, command, environment)

    def _host_file(self, suffix: str, own: Path, user: str | None) -> Path:
        """Copy the host's certificate or key to a file that only the daemon can read."""
        original = self.authority.folder / f"host-localhost.{suffix}"
        copy = write_private(own / f"host.{suffix}", original.read_bytes())
        if user is not None:
            shutil.chown(copy, user)
        return copy

    def _loopback(self) -> Path:
        """Compile the library that is preloaded into the servers."""
        library = self.folder / "loopback.so"
        if not library.exists() or library.stat().st_mtime < LOOPBACK.stat().st_mtime:
            command = [find_program("gcc"), "-shared", "-fPIC", "-O1", "-o", str(library), str(LOOPBACK), "-ldl"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ServiceError(f"{LOOPBACK} does not compile: {done.stderr}")
        return library
