"""A Slurm cluster: one node, which reports more CPUs than the machine has."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from af_kit.credentials.private_files import write_private
from services.common import Service, ServiceError, find_program, run_as, shared_folder, wait_until

__all__ = ["CPUS", "DAEMONS", "MEMORY_MB", "PROGRAMS", "Slurm"]

DAEMONS = ("munged", "slurmctld", "slurmd")
PROGRAMS = (*DAEMONS, "sbatch", "squeue", "scancel", "scontrol", "sinfo", "setpriv")
"""The programs that the service needs."""
CPUS = 8
"""The number of CPUs that the node reports."""
MEMORY_MB = 16_000
"""The memory that the node reports."""
MUNGE_USER = "munge"  # munged refuses to run as root; Debian's package creates this user

# config_overrides: without it, a node with more CPUs than the machine has the state "inval", and its jobs hang.
# linuxproc, task/none, no gathering: these need neither the machine's cgroups nor systemd.
# The intervals are short because tests wait for them; KillWait is the time from TERM to KILL of a job at its limit.
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


class Slurm(Service):
    """The Slurm cluster of one folder, which also has munge's key and the state of the jobs."""

    name = "slurm"
    processes = DAEMONS

    def environment(self) -> dict[str, str]:
        """Return the variables with which sbatch and the other programs use this cluster."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def command(self, program: str, *arguments: str) -> str:
        """Return what one of Slurm's programs prints about this cluster.

        Raises
        ------
        ServiceError
            The program failed, with this message.
        """
        done = self._run(program, *arguments)
        if done.returncode:
            raise ServiceError(f"{program} {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [find_program(program), *arguments]
        environment = {**os.environ, **self.environment()}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    def _start(self) -> None:
        self._configure(self._choose_ports("slurmctld", "slurmd"))
        self._start_munged()
        for daemon in ("slurmctld", "slurmd"):
            command = [find_program(daemon), "-D", "-f", str(self.folder / "slurm.conf")]
            self._spawn(daemon, command, self.environment())
        self._wait_until("slurmctld", self._controller_answers, "slurmctld does not answer")
        self._wait_until("slurmd", self._node_accepts_jobs, "The node does not accept jobs")

    def _stop(self) -> None:
        """Cancel all jobs and stop the daemons."""
        if self.is_running():  # otherwise no daemon can end a job's processes
            self.command("scancel", "--user", getpass.getuser())
            wait_until(lambda: not self.command("squeue", "--noheader"), "The jobs do not end", within_s=20)
        super()._stop()

    @property
    def _socket(self) -> Path:
        return self.folder / "munge" / "socket"

    def _controller_answers(self) -> bool:
        return self._run("scontrol", "ping").returncode == 0

    def _node_accepts_jobs(self) -> bool:
        state = self._run("sinfo", "--noheader", "--partition=batch", "--format=%t").stdout.strip()
        return state in ("idle", "mix", "alloc")

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
        for folder in ("state", "spool"):
            (self.folder / folder).mkdir(mode=0o755, exist_ok=True)

    def _start_munged(self) -> None:
        user, as_user = run_as(MUNGE_USER)
        own = shared_folder(self.folder / "munge", user)
        key = own / "key"
        if not key.exists():
            write_private(key, os.urandom(128))
            if user is not None:
                shutil.chown(key, user)
        self._socket.unlink(missing_ok=True)
        files = [f"--key-file={key}", f"--socket={self._socket}", f"--pid-file={own}/pid", f"--seed-file={own}/seed"]
        self._spawn("munged", [*as_user, find_program("munged"), "--foreground", "--num-threads=2", *files])
        # The other daemons need a credential as they start.
        self._wait_until("munged", self._socket.is_socket, "munged does not answer")
