"""The base image without a registry: Debian's own bootstrap, under the name in the Dockerfile."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from services.common import ROOT, ServiceError, find_program

__all__ = ["base_name", "make_base"]

DOCKERFILE = ROOT / "docker" / "Dockerfile"
_MIRROR = "http://deb.debian.org/debian"
# Debian's slim images leave these out.
_LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian")
_KEEP_OUT = """\
path-exclude /usr/share/doc/*
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/lintian/*
"""


def base_name() -> str:
    """Return the base image that the Dockerfile names."""
    named = re.search(r"^ARG BASE=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    if named is None:
        raise ServiceError(f"{DOCKERFILE} has no line ARG BASE=...")
    return named[1]


def make_base(docker: str, folder: Path, log: Path) -> None:
    """Bootstrap the Debian that `base_name` names, and import it: half a minute.

    Parameters
    ----------
    docker : str
        The docker program of the daemon.
    folder : Path
        A folder for temporary files.
    log : Path
        The file for the output.
    """
    name = base_name()
    suite = re.fullmatch(r"debian:(\w+?)(-\d+)?(-slim)?", name)
    if suite is None:
        raise ServiceError(f"{name} cannot be bootstrapped. The name must look like debian:SUITE-DATE-slim.")
    sources = dict(_sources(suite[1]))
    root = Path(tempfile.mkdtemp(prefix="base-", dir=folder))
    try:
        with log.open("ab") as output:
            bootstrap = [find_program("debootstrap"), "--variant=minbase", suite[1], str(root), sources[suite[1]]]
            if subprocess.run(
                bootstrap, stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False
            ).returncode:
                raise ServiceError(f"debootstrap failed: see the end of {log}.")
            _slim(root, sources)
            with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as archive:
                done = subprocess.run(
                    [docker, "import", "-", name], stdin=archive.stdout, stdout=output, stderr=output, check=False
                )
            if done.returncode or archive.returncode:
                raise ServiceError(f"docker import failed: see the end of {log}.")
    finally:
        for mounted in ("proc", "sys"):  # in case debootstrap was interrupted
            subprocess.run(["umount", "--lazy", root / mounted], capture_output=True, check=False)
        shutil.rmtree(root)


def _sources(suite: str) -> Iterator[tuple[str, str]]:
    """Return the suites and mirrors of this machine's apt; the usual mirror on another distribution."""
    yield suite, _MIRROR
    with suppress(ServiceError):
        ask = [find_program("apt-get"), "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)"]
        for line in subprocess.run(ask, capture_output=True, text=True, check=False).stdout.splitlines():
            codename, component, mirror = line.split()
            if component == "main" and codename in (suite, f"{suite}-updates", f"{suite}-security"):
                yield codename, mirror


def _slim(root: Path, sources: dict[str, str]) -> None:
    """Remove what Debian's slim image does not have, and let apt find the updates."""
    for name in _LEFT_OUT:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir(parents=True)
    for name in ("var/cache/apt", "var/lib/apt/lists", "var/log"):
        for path in (root / name).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(_KEEP_OUT)
    lines = [f"deb {mirror} {suite} main" for suite, mirror in sources.items()]
    (root / "etc/apt/sources.list").write_text("\n".join(lines) + "\n")
