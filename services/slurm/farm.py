"""Start and stop a Slurm farm: one node, which says that it has more CPUs than the machine."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
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
    wait_until,
)

__all__ = ["CPUS", "DAEMONS", "MEMORY_MB", "PROGRAMS", "Slurm"]

DAEMONS = ("munged", "slurmctld", "slurmd")
PROGRAMS = (*DAEMONS, "sbatch", "squeue", "scancel", "scontrol", "sinfo", "setpriv")
"""The programs that must be there."""
CPUS = 8
"""CPUs that the node says it has."""
MEMORY_MB = 16_000
"""Memory that the node says it has."""
MUNGE_USER = "munge"  # munged refuses to run as root; Debian's package makes this user

# config_overrides: else a node with more CPUs than the machine is "inval", and jobs for it hang.
# linuxproc, task/none, no gathering: nothing of the machine's (cgroups, systemd) is needed.
# The intervals are those of a farm in a hurry; KillWait is the time between TERM and KILL of a job at its limit.
_CONFIGURATION = """\
ClusterName=af-kit
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={slurmctld}
SlurmdPort={slurmd}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=socket={socket}
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
ReturnToService=2
KillWait=2
DefMemPerCPU=1000
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=batch Nodes=ALL Default=YES DefaultTime=00:30:00 MaxTime=02:00:00
PartitionName=long Nodes=ALL DefaultTime=08:00:00 MaxTime=2-00:00:00
PartitionName=closed Nodes=ALL State=DOWN
"""


@dataclass(frozen=True)
class Slurm:
    """The farm of one folder, running or not.

    Parameters
    ----------
    folder : Path
        Configuration, logs, munge's key and what Slurm knows of its jobs.
    """

    folder: Path = field(default_factory=lambda: default_folder("slurm"))

    def start(self) -> Slurm:
        """Start the daemons that do not run, and wait until the node takes jobs."""
        with alone(make_folder(self.folder)):
            self._start()
        return self

    def stop(self) -> None:
        """Cancel all jobs and stop the daemons; ports and what Slurm knows stay for the next start."""
        state = load_state(self.folder)
        running = [daemon for daemon in DAEMONS if daemon in state and is_running(state[daemon])]
        if len(running) == len(DAEMONS):  # else nobody is left who could end a job's processes
            self.command("scancel", "--user", getpass.getuser())
            wait_until(lambda: not self.command("squeue", "--noheader"), "The jobs do not end", within_s=20)
        stop_all([state[daemon] for daemon in reversed(running)])

    def running(self) -> dict[str, int]:
        """The daemons that run, and their process ids."""
        state = load_state(self.folder)
        return {daemon: state[daemon]["pid"] for daemon in DAEMONS if daemon in state and is_running(state[daemon])}

    def environment(self) -> dict[str, str]:
        """What a client's process needs: sbatch and the others then speak to this farm."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def command(self, program: str, *arguments: str) -> str:
        """What one of Slurm's programs prints about this farm.

        Raises
        ------
        ServiceError
            It failed; the message is its own.
        """
        done = self._run(program, arguments)
        if done.returncode:
            raise ServiceError(f"{program} {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def log(self, daemon: str) -> Path:
        """The log file of a daemon."""
        return self.folder / f"{daemon}.log"

    def _run(self, program: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = [find_program(program), *arguments]
        environment = {**os.environ, **self.environment()}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    def _start(self) -> None:
        state = load_state(self.folder)
        if len(self.running()) == len(DAEMONS):
            return
        self.stop()  # a part of a farm is none
        ports = {daemon: state.get(daemon, {}).get("port", 0) for daemon in ("slurmctld", "slurmd")}
        for (daemon, known), new in zip(ports.items(), free_ports(2), strict=True):
            ports[daemon] = known if known and is_free(known) else new
        self._configure(ports)
        for daemon, start in (("munged", self._spawn_munged), ("slurmctld", self._spawn), ("slurmd", self._spawn)):
            state[daemon] = {"port": ports.get(daemon), **start(daemon)}
            save_state(self.folder, state)
            if daemon == "munged":  # the others ask it for a credential as they start
                self._wait(self._socket.is_socket, daemon, state)
        self._wait(lambda: not self._run("scontrol", ["ping"]).returncode, "slurmctld", state)
        self._wait(lambda: self._node_state() in ("idle", "mix", "alloc"), "slurmd", state)

    @property
    def _socket(self) -> Path:
        return self.folder / "munge" / "socket"

    def _node_state(self) -> str:
        return self._run("sinfo", ["--noheader", "--partition=batch", "--format=%t"]).stdout.strip()

    def _wait(self, condition: Any, daemon: str, state: Mapping[str, Any]) -> None:
        def look() -> bool:
            if not is_running(state[daemon]):
                raise ServiceError(f"{daemon} ended as it started. Its log: {self.log(daemon)}")
            return bool(condition())

        wait_until(look, f"{daemon} is not ready", within_s=30, log=self.log(daemon))

    def _configure(self, ports: Mapping[str, int]) -> None:
        text = _CONFIGURATION.format(
            **ports,
            host=socket.gethostname().split(".")[0],
            socket=self._socket,
            user=getpass.getuser(),
            folder=self.folder,
            cpus=CPUS,
            memory=MEMORY_MB,
        )
        (self.folder / "slurm.conf").write_text(text)
        for place in ("state", "spool"):
            (self.folder / place).mkdir(mode=0o755, exist_ok=True)

    def _spawn(self, daemon: str) -> dict[str, int]:
        command = [find_program(daemon), "-D", "-f", str(self.folder / "slurm.conf")]
        return spawn(command, self.log(daemon), environment=self.environment())

    def _spawn_munged(self, daemon: str) -> dict[str, int]:
        user, as_user = run_as(MUNGE_USER)
        own = shared_folder(self.folder / "munge", user)
        key = own / "key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(os.urandom(128))
            if user is not None:
                shutil.chown(key, user)
        self._socket.unlink(missing_ok=True)
        files = [f"--key-file={key}", f"--socket={self._socket}", f"--pid-file={own}/pid", f"--seed-file={own}/seed"]
        command = [*as_user, find_program("munged"), "--foreground", "--num-threads=2", *files]
        return spawn(command, self.log(daemon))
