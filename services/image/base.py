"""The base image, where no registry can be asked for it: Debian's own bootstrap, under the name in the Dockerfile."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from services.common import ServiceError, find_program

__all__ = ["base_name", "make_base"]

DOCKERFILE = Path(__file__).parents[2] / "docker" / "Dockerfile"
_MIRROR = "http://deb.debian.org/debian"
# What Debian's slim images leave out, so that ours is as small.
_LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian")
_KEEP_OUT = """\
path-exclude /usr/share/doc/*
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/lintian/*
"""


def base_name() -> str:
    """The base image that the Dockerfile names."""
    named = re.search(r"^ARG BASE=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    if named is None:
        raise ServiceError(f"{DOCKERFILE} has no line ARG BASE=...")
    return named[1]


def make_base(docker: str, folder: Path, log: Path) -> None:
    """Bootstrap the Debian that `base_name` names and import it; takes half a minute.

    Parameters
    ----------
    docker : str
        The docker program that talks to the daemon.
    folder : Path
        Where it may write for the time being.
    log : Path
        Where the output goes.
    """
    name = base_name()
    suite = re.fullmatch(r"debian:(\w+?)(-\d+)?(-slim)?", name)
    if suite is None:
        raise ServiceError(f"{name} cannot be bootstrapped; debian:SUITE-DATE-slim can.")
    sources = dict(_sources(suite[1]))
    root = Path(tempfile.mkdtemp(prefix="base-", dir=folder))
    try:
        with log.open("ab") as output:
            bootstrap = [find_program("debootstrap"), "--variant=minbase", suite[1], str(root), sources[suite[1]]]
            if subprocess.run(
                bootstrap, stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False
            ).returncode:
                raise ServiceError(f"debootstrap failed: the end of {log} says why.")
            _slim(root, sources)
            with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as archive:
                done = subprocess.run(
                    [docker, "import", "-", name], stdin=archive.stdout, stdout=output, stderr=output, check=False
                )
            if done.returncode or archive.returncode:
                raise ServiceError(f"docker import failed: the end of {log} says why.")
    finally:
        for mounted in ("proc", "sys"):  # where debootstrap was interrupted
            subprocess.run(["umount", "--lazy", root / mounted], capture_output=True, check=False)
        shutil.rmtree(root)


def _sources(suite: str) -> Iterator[tuple[str, str]]:
    """Suite -> mirror, as this machine's own apt has them; with the usual mirror where it is another distribution."""
    yield suite, _MIRROR
    with suppress(ServiceError):
        ask = [find_program("apt-get"), "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)"]
        for line in subprocess.run(ask, capture_output=True, text=True, check=False).stdout.splitlines():
            codename, component, mirror = line.split()
            if component == "main" and codename in (suite, f"{suite}-updates", f"{suite}-security"):
                yield codename, mirror


def _slim(root: Path, sources: dict[str, str]) -> None:
    """Take out what Debian's slim image has not, and let apt find the updates."""
    for place in _LEFT_OUT:
        shutil.rmtree(root / place, ignore_errors=True)
        (root / place).mkdir(parents=True)
    for place in ("var/cache/apt", "var/lib/apt/lists", "var/log"):
        for path in (root / place).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(_KEEP_OUT)
    lines = [f"deb {mirror} {suite} main" for suite, mirror in sources.items()]
    (root / "etc/apt/sources.list").write_text("\n".join(lines) + "\n")
