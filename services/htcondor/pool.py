"""A pool of one machine, which submits, schedules and runs jobs, with a user who is not root."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from services.common import Service, ServiceError, find_program, processes_below
from services.htcondor import system

__all__ = ["HTCondor", "USER"]

USER = "physicist"
MACHINE = Path(__file__).with_name("machine.sh")
# Debian's minicondor configures a pool of one machine on 127.0.0.1; these are the differences.
_CONFIG = """\
COLLECTOR_HOST = 127.0.0.1:{port}
SHARED_PORT_PORT = {port}
ENABLE_IPV6 = False
# Do not look up this machine's names, and do not publish them.
NO_DNS = True
DEFAULT_DOMAIN_NAME = pool
UID_DOMAIN = pool
FILESYSTEM_DOMAIN = pool
TRUST_UID_DOMAIN = True
SEC_DEFAULT_AUTHENTICATION_METHODS = FS
# One slot that is divided: jobs of tests are small.
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
# This build of HTCondor cannot request a delegation: the proxy is sent unchanged, over an encrypted connection.
DELEGATE_JOB_GSI_CREDENTIALS = False
# A job with +SharedFilesystem = False finds its user's home empty, as on a site without a shared file system.
MOUNT_UNDER_SCRATCH = ifThenElse(SharedFilesystem =?= False, "{folder}/home", "")
# A rule of the site that refuses jobs
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
# Enter the machine as its user, in the caller's current folder if the machine has it.
_ENTER = """\
#!/bin/sh
export HOME={home} USER={user} LOGNAME={user} SHELL=/bin/bash PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
unset TMPDIR
exec {nsenter} --target {pid} --mount --pid {chroot} {root} setpriv --reuid={user} --regid={user} --init-groups \\
    sh -c 'cd "$0" 2>/dev/null || cd; exec "$@"' "$PWD" "$@"
"""


class HTCondor(Service):
    """The pool of one folder, which has the same path on the pool's machine.

    The folder has the jobs' folders and the user's home, too.
    """

    name = "htcondor"
    processes = ("machine", "master")

    @property
    def home(self) -> Path:
        """The user's home, which clients and jobs can write to."""
        return self.folder / "home"

    @property
    def bin(self) -> Path:
        """``condor_submit``, ``condor_q`` and the others, for a PATH: each runs on the pool's machine as its user."""
        return self.folder / "bin"

    def _start(self) -> None:
        if reason := system.missing():
            raise ServiceError(f"HTCondor cannot run here: {reason}.")
        (port,) = self._choose_ports("pool").values()
        uid = self._load().get("user", {}).get("uid") or _free_uid()
        self._save("user", {"uid": uid})
        self.home.mkdir(mode=0o700, exist_ok=True)
        os.chown(self.home, uid, uid)
        (self.folder / "pool.conf").write_text(_CONFIG.format(port=port, folder=self.folder))
        unshare = [find_program("unshare"), "--mount", "--pid", "--fork", "--kill-child"]
        machine = ["sh", str(MACHINE), str(system.root()), str(self.folder), USER, str(uid)]
        self._spawn("machine", [*unshare, *machine, *map(str, system.visible_folders())])
        try:
            # The fork is the machine's first process. When it ends, all others end, and `unshare` with them.
            fork = self._wait_until(
                "machine", lambda: processes_below(self.process("machine"))[:1], "The machine does not start"
            )[0]
            self._save("processes", {"master": fork})
            self._write_commands(fork["pid"])
            self._wait_until("machine", self._accepts_jobs, "The pool does not accept jobs", within_s=60)
        except ServiceError:
            self._stop()
            raise

    def _accepts_jobs(self) -> bool:
        slots = self.run(["condor_status", "-af", "Name"])
        return slots.returncode == 0 and bool(slots.stdout.strip()) and self.run(["condor_q"]).returncode == 0

    def logs(self) -> list[Path]:
        """Return the logs of the machine and the daemons."""
        return [self.log("machine"), *sorted((self.folder / "pool" / "log").glob("*Log"))]

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs ``command`` on the pool's machine as its user."""
        return [str(self.bin / "enter"), *command]

    def run(self, command: Sequence[str], *, within_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command on the pool's machine as its user."""
        return subprocess.run(
            self.command(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

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


def _free_uid() -> int:
    """Return a user id that is not in use on this machine."""
    taken = {user.pw_uid for user in pwd.getpwall()}
    return next(uid for uid in range(20001, 60000) if uid not in taken)
