"""The pool's machine: a Debian with HTCondor in a folder, made once, since older Debians have no such package.

It lies in a cache folder (``$XDG_CACHE_HOME/af-kit``), and is never changed after it was made: a running pool writes
to a layer above it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from services.common import ServiceError, alone, find_program

__all__ = ["PROGRAMS", "install", "missing", "root", "what_jobs_see"]

SUITE = "trixie"
PACKAGE = "minihtcondor"
PROGRAMS = ("unshare", "nsenter", "setpriv", "mount", "chroot")
"""The programs that a pool needs, besides its own."""
ROOT_OF_CHECKOUT = Path(__file__).parents[2]

# Run in a mount namespace of its own: what it mounts goes with it. Daemons must not start while they are installed.
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
    """The folder that holds what is made once on a machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "af-kit" / "htcondor"


def root() -> Path:
    """The root of the machine's file system."""
    return cache() / SUITE


def missing() -> str:
    """Why no pool can run here; empty where one can."""
    if os.getuid() != 0:
        return "its file system can only be mounted by root"
    if not root().exists():
        return "no HTCondor; services/htcondor/install brings it"
    return ""


def install(mirror: str | None = None) -> Path:
    """Make the machine's file system, where it is not there yet: 1.5 minutes, 600 MB.

    Parameters
    ----------
    mirror : str, optional
        Where Debian's packages come from (default: as for the packages of this machine).
    """
    if os.getuid() != 0:
        raise ServiceError("The file system of HTCondor's machine can only be made by root.")
    cache().mkdir(parents=True, exist_ok=True)
    with alone(cache()):
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
    """The mirror of Debian that apt takes the packages of this machine from."""
    wanted = ["--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian", "Component: main"]
    done = subprocess.run(["apt-get", "indextargets", *wanted], capture_output=True, text=True, check=False)
    if not (mirrors := done.stdout.split()):
        raise ServiceError("apt names no mirror of Debian (was `apt-get update` run?). Give one: --mirror URL.")
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


def what_jobs_see() -> list[Path]:
    """The folders that this session's Python needs: the checkout, its environment, and the interpreter behind it.

    They are shown to the machine, read-only and under the same names, in place of the software that a site shares
    between its nodes.
    """
    places = [ROOT_OF_CHECKOUT, Path(sys.prefix)]
    base = Path(sys.base_prefix)
    if base == Path("/usr"):  # the machine has a /usr of its own, with another Python
        places += [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
        places.append(Path(os.path.realpath(sys.executable)))
    else:
        places += [base, base.resolve()]
    kept: list[Path] = []
    for place in sorted(set(places)):
        if not any(place.is_relative_to(other) for other in kept):
            kept.append(place)
    return kept
