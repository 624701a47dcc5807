"""What a build needs to know of this machine, and must not keep: the one place where it is added to the README's line.

Packages may come through a mirror, or through a proxy that signs with an authority of its own. The build is told by
secrets (BuildKit mounts them, and they are in no layer) and by Docker's own proxy arguments, which it keeps nowhere.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from services.common import make_folder

__all__ = ["build_flags", "certificates", "pip_settings"]

# The settings of pip that say where packages come from. `cert` goes by a secret of its own; a folder of this machine,
# as `find-links` may name, is not there in a build.
_PIP = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def certificates() -> Path | None:
    """The file of authorities that this machine's Python programs are told to trust; None if they are not told."""
    named = [os.environ.get(name) for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")]
    for path in (*named, _pip_config().get("cert")):
        if path and Path(path).is_file():
            return Path(path)
    return None


def pip_settings() -> str:
    """A ``pip.conf`` with this machine's package index; empty where it has no settings of its own."""
    config = _pip_config()
    lines = [f"{name} = {config[name]}" for name in _PIP if name in config]
    return "\n".join(("[global]", *lines, "")) if lines else ""


def build_flags(folder: Path, *, ca: Path | None = None, extra_pip: str = "") -> list[str]:
    """The flags for ``docker build``.

    Parameters
    ----------
    folder : Path
        Where the ``pip.conf`` of the build is written, for nobody else to read: an index may need a password.
    ca : Path, optional
        The authorities (default: `certificates`).
    extra_pip : str
        More lines for the ``pip.conf``.
    """
    flags = ["--network=host"]  # the daemon's own networks lead nowhere: see daemon.py
    if ca := ca or certificates():
        flags += ["--secret", f"id=ca,src={ca}"]
    if settings := pip_settings() + extra_pip:
        path = make_folder(folder) / "pip.conf"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(settings)
        flags += ["--secret", f"id=pip_conf,src={path}"]
    for name in _PROXIES:
        if name in os.environ:
            flags += ["--build-arg", name]  # the value comes from the environment, and shows in no list of processes
    return flags


def _pip_config() -> Mapping[str, str]:
    """pip's settings here, those of the environment last: they win."""
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
