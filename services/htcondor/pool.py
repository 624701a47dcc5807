"""Start and stop a pool: one machine, which submits, schedules and runs jobs, with a user who is not root."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.common import (
    ServiceError,
    alone,
    default_folder,
    find_program,
    free_ports,
    identify,
    is_free,
    is_running,
    load_state,
    make_folder,
    save_state,
    spawn,
    stop_all,
    wait_until,
)
from services.htcondor import system

__all__ = ["HTCondor", "USER"]

USER = "physicist"
MACHINE = Path(__file__).with_name("machine.sh")
# Debian's minicondor makes a pool of one machine on 127.0.0.1; this is what differs.
_CONFIG = """\
COLLECTOR_HOST = 127.0.0.1:{port}
SHARED_PORT_PORT = {port}
ENABLE_IPV6 = False
# No name of this machine is looked up, or told.
NO_DNS = True
DEFAULT_DOMAIN_NAME = pool
UID_DOMAIN = pool
FILESYSTEM_DOMAIN = pool
TRUST_UID_DOMAIN = True
SEC_DEFAULT_AUTHENTICATION_METHODS = FS
# More jobs than cores, as tests ask for little: one slot that is divided.
NUM_CPUS = 16
MEMORY = 32768
NUM_SLOTS = 1
NUM_SLOTS_TYPE_1 = 1
SLOT_TYPE_1 = 100%
SLOT_TYPE_1_PARTITIONABLE = True
LOCAL_DIR = {folder}/pool
LOG = $(LOCAL_DIR)/log
SPOOL = $(LOCAL_DIR)/spool
EXECUTE = $(LOCAL_DIR)/execute
RUN = $(LOCAL_DIR)/run
LOCK = $(LOCAL_DIR)/lock
ENABLE_KERNEL_TUNING = False
CGROUP_TRACKING = False
BASE_CGROUP =
# A job with +SharedFilesystem = False finds an empty folder in place of its user's home, as on a site without one.
# This build of HTCondor makes no request for a delegation; the proxy is sent as it is, over an encrypted connection.
DELEGATE_JOB_GSI_CREDENTIALS = False
MOUNT_UNDER_SCRATCH = ifThenElse(SharedFilesystem =?= False, "{folder}/home", "")
# A rule of the site's, to see a refusal
SUBMIT_REQUIREMENT_NAMES = Group
SUBMIT_REQUIREMENT_Group = AcctGroup =!= "closed"
SUBMIT_REQUIREMENT_Group_REASON = "The group closed takes no jobs."
# Decisions within a second or two
SCHEDD_INTERVAL = 2
SCHEDD_MIN_INTERVAL = 1
NEGOTIATOR_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
NEGOTIATOR_MIN_INTERVAL = 1
UPDATE_INTERVAL = 2
PERIODIC_EXPR_INTERVAL = 2
STARTER_UPDATE_INTERVAL = 2
SHADOW_QUEUE_UPDATE_INTERVAL = 2
MachineMaxVacateTime = 5
SHUTDOWN_GRACEFUL_TIMEOUT = 5
"""
# Enter the machine as its user, in the folder where the caller is, if the machine has it.
_ENTER = """\
#!/bin/sh
export HOME={home} USER={user} LOGNAME={user} SHELL=/bin/bash PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
unset TMPDIR
exec {nsenter} --target {pid} --mount --pid {chroot} {root} setpriv --reuid={user} --regid={user} --init-groups \\
    sh -c 'cd "$0" 2>/dev/null || cd; exec "$@"' "$PWD" "$@"
"""


@dataclass(frozen=True)
class HTCondor:
    """The pool of one folder, running or not.

    Parameters
    ----------
    folder : Path
        Configuration, logs, spool, the jobs' folders, and the user's home; the same path inside of the pool's machine.
    """

    folder: Path = field(default_factory=lambda: default_folder("htcondor"))

    @property
    def home(self) -> Path:
        """The user's home: what clients and jobs may write."""
        return self.folder / "home"

    @property
    def bin(self) -> Path:
        """``condor_submit``, ``condor_q`` and the others, for a PATH: each runs inside of the machine as its user."""
        return self.folder / "bin"

    def start(self) -> HTCondor:
        """Start the pool if it does not run, and wait until it can take jobs."""
        if reason := system.missing():
            raise ServiceError(f"HTCondor cannot run here: {reason}.")
        with alone(make_folder(self.folder)):
            state = load_state(self.folder)
            if "master" not in self.running():
                self._start(state)
        return self

    def _start(self, state: Mapping[str, Any]) -> None:
        port = state.get("port", 0)
        if not port or not is_free(port):
            (port,) = free_ports(1)
        uid = state.get("uid") or _free_uid()
        self.home.mkdir(mode=0o700, exist_ok=True)
        os.chown(self.home, uid, uid)
        (self.folder / "pool.conf").write_text(_CONFIG.format(port=port, folder=self.folder))
        log = self.folder / "machine.log"
        unshare = [find_program("unshare"), "--mount", "--pid", "--fork", "--kill-child"]
        machine = ["sh", str(MACHINE), str(system.root()), str(self.folder), USER, str(uid)]
        outer = spawn([*unshare, *machine, *map(str, system.what_jobs_see())], log)
        # The fork is the machine's first process: to stop it stops everything, and `unshare` with it.
        master = wait_until(lambda: _child(outer), "The machine does not start", log=log)
        save_state(self.folder, {"master": master, "outer": outer, "port": port, "uid": uid})
        self._write_commands(master["pid"])
        try:
            wait_until(lambda: self._ready(outer), "The pool takes no jobs", within_s=60, log=log)
        except ServiceError:
            self.stop()
            raise

    def _ready(self, outer: Mapping[str, int]) -> bool:
        if not is_running(outer):
            raise ServiceError(f"The machine ended. Its log: {self.folder / 'machine.log'}")
        slots = self.run(["condor_status", "-af", "Name"])
        return slots.returncode == 0 and bool(slots.stdout.strip()) and self.run(["condor_q"]).returncode == 0

    def stop(self) -> None:
        """Stop the pool and every job in it; its files and its port stay for the next start."""
        state = load_state(self.folder)
        stop_all([state[name] for name in ("master", "outer") if name in state])

    def running(self) -> dict[str, int]:
        """The ids of the processes that hold the others, empty if the pool does not run."""
        state = load_state(self.folder)
        return {name: state[name]["pid"] for name in ("master", "outer") if name in state and is_running(state[name])}

    def command(self, command: Sequence[str]) -> list[str]:
        """What runs ``command`` inside of the pool's machine, as its user."""
        return [str(self.bin / "enter"), *command]

    def run(self, command: Sequence[str], *, within_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command inside of the pool's machine, as its user."""
        return subprocess.run(
            self.command(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def logs(self) -> list[Path]:
        """The daemons' logs."""
        return [self.folder / "machine.log", *sorted((self.folder / "pool" / "log").glob("*Log"))]

    def _write_commands(self, pid: int) -> None:
        shutil.rmtree(self.bin, ignore_errors=True)
        self.bin.mkdir()
        enter = self.bin / "enter"
        programs = {name: find_program(name) for name in ("nsenter", "chroot")}
        inside = self.folder / "layer" / "root"
        enter.write_text(_ENTER.format(home=shlex.quote(str(self.home)), user=USER, pid=pid, root=inside, **programs))
        enter.chmod(0o755)
        for program in (system.root() / "usr" / "bin").glob("condor_*"):
            command = self.bin / program.name
            command.write_text(f'#!/bin/sh\nexec {shlex.quote(str(enter))} {program.name} "$@"\n')
            command.chmod(0o755)


def _child(process: Mapping[str, int]) -> dict[str, int] | None:
    """The first child of a process; None while it has none."""
    with suppress(FileNotFoundError):
        children = Path(f"/proc/{process['pid']}/task/{process['pid']}/children").read_text().split()
        if children:
            return identify(int(children[0]))
    if not is_running(process):
        raise ServiceError("The machine ended at once.")
    return None


def _free_uid() -> int:
    """A user id that nobody on this machine has."""
    taken = {user.pw_uid for user in pwd.getpwall()}
    return next(uid for uid in range(20001, 60000) if uid not in taken)
