"""What a build needs from this machine and the image must not contain: options for `docker build` in docs/install.md.

Packages may come through a mirror, or through a web proxy with its own certificate authority. The build receives these
as secrets, which BuildKit mounts and writes to no layer, and as Docker's proxy arguments, which are not stored either.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from af_kit.credentials.private_files import write_private
from services.common import make_folder

__all__ = ["build_flags", "certificates", "pip_settings"]

# The settings of pip for the source of packages. `cert` is a separate secret; `find-links` may name a folder of this
# machine, which a build does not have.
_PIP = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def certificates() -> Path | None:
    """Return the file of authorities that this machine's Python programs are configured to trust, if there is one."""
    named = [os.environ.get(name) for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")]
    for path in (*named, _pip_config().get("cert")):
        if path and Path(path).is_file():
            return Path(path)
    return None


def pip_settings() -> str:
    """Return a ``pip.conf`` with this machine's package index; empty if the machine has no such settings."""
    config = _pip_config()
    lines = [f"{name} = {config[name]}" for name in _PIP if name in config]
    return "\n".join(("[global]", *lines, "")) if lines else ""


def build_flags(folder: Path, *, ca: Path | None = None, extra_pip: str = "") -> list[str]:
    """Return the options for ``docker build``.

    Parameters
    ----------
    folder : Path
        The folder of the build's ``pip.conf``, which is private because an index may need a password.
    ca : Path, optional
        The authorities (default: `certificates`).
    extra_pip : str
        More lines for the ``pip.conf``.
    """
    flags = ["--network=host"]  # the daemon's own networks do not reach the outside world: see daemon.py
    if ca := ca or certificates():
        flags += ["--secret", f"id=ca,src={ca}"]
    if settings := pip_settings() + extra_pip:
        path = write_private(make_folder(folder) / "pip.conf", settings)
        flags += ["--secret", f"id=pip_conf,src={path}"]
    for name in _PROXIES:
        if name in os.environ:
            flags += ["--build-arg", name]  # the value comes from the environment, so no list of processes shows it
    return flags


def _pip_config() -> Mapping[str, str]:
    """Return pip's settings on this machine; those of the environment come last and take precedence."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    found: dict[str, str] = {}
    for line in listed.splitlines():  # global.timeout='60', :env:.index-url='...'
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in ("global", "install", ":env:"):
            found[key] = " ".join(str(ast.literal_eval(value)).split())
    return found
