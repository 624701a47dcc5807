"""The file system of the pool's machine: a Debian with HTCondor, because older Debians have no such package.

It is created once, in a cache folder (``$XDG_CACHE_HOME/af-kit``), and does not change: a running pool writes to a
layer above it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from services.common import ROOT, ServiceError, find_program, locked

__all__ = ["PROGRAMS", "install", "missing", "root", "visible_folders"]

SUITE = "trixie"
PACKAGE = "minihtcondor"
PROGRAMS = ("unshare", "nsenter", "setpriv", "mount", "chroot")
"""The programs that the service needs, apart from HTCondor's own."""

# Run in a new mount namespace, whose mounts end with it. policy-rc.d keeps installed daemons from starting.
_INSTALL = """\
set -e
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
cp /etc/resolv.conf "$1/etc/resolv.conf"
printf '#!/bin/sh\\nexit 101\\n' > "$1/usr/sbin/policy-rc.d"
chmod +x "$1/usr/sbin/policy-rc.d"
chroot "$1" apt-get update --quiet
chroot "$1" apt-get install --quiet --yes --no-install-recommends "$2" \\
    || chroot "$1" apt-get install --quiet --yes --fix-broken
chroot "$1" condor_version
chroot "$1" apt-get clean
rm -rf "$1"/var/lib/apt/lists/*
"""


def cache() -> Path:
    """Return the folder for what is created once on a machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "af-kit" / "htcondor"


def root() -> Path:
    """Return the root of the machine's file system."""
    return cache() / SUITE


def missing() -> str:
    """Return why a pool cannot run here, apart from missing `PROGRAMS`; empty if it can."""
    if os.getuid() != 0:
        return "only root can mount its file system"
    if not root().exists():
        return "no HTCondor; services/htcondor/install installs it"
    return ""


def install(mirror: str | None = None) -> Path:
    """Create the machine's file system, if it does not exist: 1.5 minutes, 600 MB.

    Parameters
    ----------
    mirror : str, optional
        The mirror of Debian's packages (default: the mirror that apt uses on this machine).
    """
    if os.getuid() != 0:
        raise ServiceError("Only root can create the file system of HTCondor's machine.")
    cache().mkdir(parents=True, exist_ok=True)
    with locked(cache()):
        if not root().exists():
            part, log = cache() / f"{SUITE}.part", cache() / "install.log"
            shutil.rmtree(part, ignore_errors=True)
            log.unlink(missing_ok=True)
            debootstrap = [find_program("debootstrap"), "--variant=minbase", SUITE, str(part), mirror or _mirror()]
            _run(debootstrap, log)
            _run([find_program("unshare"), "--mount", "sh", "-c", _INSTALL, "sh", str(part), PACKAGE], log)
            part.rename(root())
    return root()


def _mirror() -> str:
    """Return the mirror of Debian that apt uses on this machine."""
    wanted = ["--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian", "Component: main"]
    done = subprocess.run(["apt-get", "indextargets", *wanted], capture_output=True, text=True, check=False)
    if not (mirrors := done.stdout.split()):
        raise ServiceError("apt has no mirror of Debian. Run `apt-get update`, or pass a mirror: --mirror URL.")
    return mirrors[0]


def _run(command: list[str], log: Path) -> None:
    variables = {
        "DEBIAN_FRONTEND": "noninteractive",
        "LC_ALL": "C.UTF-8",
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
    }
    with log.open("ab") as output:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables},
            check=False,
        )
    if done.returncode:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise ServiceError(f"{command[0]} ended with {done.returncode}. The end of {log}:\n{end}")


def visible_folders() -> list[Path]:
    """Return the folders that this Python needs: the checkout, its environment, and the interpreter.

    The machine sees them read-only under the same paths, in the role of the software that a site shares among its
    nodes.
    """
    folders = [ROOT, Path(sys.prefix)]
    base = Path(sys.base_prefix)
    if base == Path("/usr"):  # the machine has another /usr, with another Python
        folders += [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
        folders.append(Path(os.path.realpath(sys.executable)))
    else:
        folders += [base, base.resolve()]
    outermost: list[Path] = []
    for folder in sorted(set(folders)):
        if not any(folder.is_relative_to(other) for other in outermost):
            outermost.append(folder)
    return outermost
