"""Run the fault harness: ``python tests/faults/driver.py --cases 100 --seed 1``. See `case` for what is right."""

from __future__ import annotations

import argparse
import collections
import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for services

from cases import Case, choose
from faults import KINDS
from machine import MARK, processes
from runs import write_samples

HERE = Path(__file__).resolve().parent
DEADLINE_S = 300.0
# Characters of each log to show
_LOG = 4000
RIGHT = ("same", "listed", "refused", "resumed", "left out")
# Short time-outs, so that a case takes seconds: the cluster is lost, a server is silent, no worker comes.
SETTINGS = {
    "AF_KIT__RUN__WORKERS_TIMEOUT_S": "20",
    "AF_KIT__RUN__BACKOFF_S": "0.05",
    "AF_KIT__RUN__RETRIES": "2",
    "AF_KIT__DATA__CHUNK_BYTES": "1",  # tasks of a few chunks
    "AF_KIT__DATA__XROOTD__CONNECT_S": "2",
    "AF_KIT__DATA__XROOTD__SILENCE_S": "4",
    "AF_KIT__DATA__XROOTD__REQUEST_S": "8",
    "DISTRIBUTED__SCHEDULER__WORKER_TTL": "15s",  # a busy machine leaves a worker without processor time for seconds
    "DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    "DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "8s",
    "DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",  # at least, or Dask refuses it
    "DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT": "1s",
    "DISTRIBUTED__ADMIN__TICK__INTERVAL": "200ms",
    "DISTRIBUTED__WORKER__PROFILE__INTERVAL": "100ms",
}
# No credentials or clusters of this machine
UNSET = (
    "X509_USER_PROXY", "X509_CERT_DIR", "X509_CERT_BUNDLE", "XrdSecGSIUSERPROXY", "XrdSecGSICADIR", "BEARER_TOKEN",
    "BEARER_TOKEN_FILE", "DASK_SCHEDULER_ADDRESS",
)  # fmt: skip


class Machine:
    """What this machine has for the faults, and the samples that all children share."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.samples = folder, folder / "samples"
        self.missing = {need: reason for need, reason in self._needs() if reason}
        for seed, name in enumerate(("run", "others")):  # the same names and entries, other events
            write_samples(self.samples / name, seed)

    def _needs(self) -> Iterator[tuple[str, str]]:
        from services.xrootd.server import installed

        tools = [tool for tool in ("unshare", "nsenter", "ip", "mount") if shutil.which(tool) is None]
        root = "the user is not root" if os.geteuid() else f"no {', '.join(tools)}" if tools else _unshared()
        yield "root", root
        yield "xrootd", "" if installed() else "no XRootD server"
        yield "gcc", self._compile()

    def _compile(self) -> str:
        if shutil.which("gcc") is None:
            return "no gcc"
        library = self.folder / "clock.so"
        command = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-o", str(library), str(HERE / "clock.c")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stderr or self._moves_the_clock(library)

    def _moves_the_clock(self, library: Path) -> str:
        """Return why the preloaded library does not work here; empty if it does."""
        clock = self.folder / "clock"
        clock.write_bytes((86_400).to_bytes(8, "little"))
        environment = {**os.environ, "LD_PRELOAD": str(library), "AF_KIT_CLOCK": str(clock)}
        command = [sys.executable, "-c", "import time; print(time.time())"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        moved = float(done.stdout or 0) - time.time()
        return "" if abs(moved - 86_400) < 3600 else f"a preloaded library does not move Python's clock {done.stderr}"

    def lacks(self, case: Case) -> str:
        """Return why a case can't be run here; empty if it can."""
        needs = {KINDS[fault.kind].needs for fault in case.faults} | ({"xrootd"} if case.files != "disk" else set())
        return "; ".join(self.missing[need] for need in sorted(needs & self.missing.keys()))


def _unshared() -> str:
    command = ["unshare", "--mount", "--net", "ip", "link", "add", "faults", "type", "bridge"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr.strip()


class Child:
    """The process that runs cases, in namespaces of its own; it is replaced after each finding."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._process: subprocess.Popen[str] | None = None
        self._folder = Path()

    def ask(self, case: Case | None, deadline_s: float = DEADLINE_S) -> tuple[str, str, float]:
        """Return the verdict on one case, the details and the seconds; without a case, the child ends what it keeps."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        began = time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write((json.dumps(asdict(case)) if case else "") + "\n")
            process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], deadline_s)
        if answer := process.stdout.readline() if ready else "":
            verdict, detail, seconds = json.loads(answer)
        else:
            seconds = time.monotonic() - began
            verdict, detail = ("crash", f"exit code {process.poll()}") if ready else ("hang", f"{deadline_s:g} s")
            if not ready:
                for running in processes():
                    if "case.py" in " ".join(running.cmdline()):
                        running.send_signal(signal.SIGUSR1)  # for the stacks of its threads
                time.sleep(1)
        if verdict not in (*RIGHT, "end"):
            for log in (self._folder / "log", *sorted(self._folder.glob("cluster/*.log")), *self._logs_of_scheduler()):
                lines = [line for line in log.read_text(errors="replace").splitlines() if "Run out-of-band" not in line]
                end = "\n".join(lines)[-_LOG:].replace("\n", "\n    | ")
                detail += f"\n    | --- {log.name}\n    | {end}"
        if verdict not in RIGHT:
            self.close()
        return verdict, detail, seconds

    def _logs_of_scheduler(self) -> list[Path]:
        return [path for path in sorted(self._folder.glob("registry/logs/**/*")) if path.is_file()]

    def close(self) -> None:
        """End the child, and whatever it has started; its mounts and networks end with its namespaces."""
        if self._process is None:
            return
        deadline = time.monotonic() + 20
        while (left := processes()) and time.monotonic() < deadline:
            for process in left:
                with contextlib.suppress(Exception):
                    process.kill()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:  # orphans are children of this process now
                    pass
            time.sleep(0.1)
        self._process.wait()
        self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> subprocess.Popen[str]:
        self._folder = Path(tempfile.mkdtemp(prefix="child-", dir=self._machine.folder))
        self._folder.chmod(0o711)  # XRootD's user must pass
        temporary = self._folder / "tmp"
        temporary.mkdir(mode=0o711)
        clock = self._folder / "clock"
        clock.write_bytes(bytes(8))
        settings = {f"DASK_{name}": value for name, value in SETTINGS.items()}
        settings |= {"TMPDIR": str(temporary), "AF_KIT_CLOCK": str(clock), MARK: os.environ[MARK]}
        settings |= {"DASK_AF_KIT__CLUSTER__FOLDER": str(self._folder / "registry")}
        # workers and schedulers of their own import the functions of the runs from here
        settings["PYTHONPATH"] = os.pathsep.join(
            [str(HERE), str(HERE.parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        )
        if (library := self._machine.folder / "clock.so").exists():
            settings["LD_PRELOAD"] = str(library)
        environment = {name: value for name, value in os.environ.items() if name not in UNSET} | settings
        command = [sys.executable, str(HERE / "case.py"), str(self._folder), str(self._machine.samples)]
        if "root" not in self._machine.missing:
            up = 'ip link set lo up && mkdir -p /run/netns && mount -t tmpfs none /run/netns && exec "$@"'
            command = ["unshare", "--mount", "--net", "sh", "-c", up, "sh", *command]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        return self._process


def run(cases: list[Case], machine: Machine) -> Iterator[tuple[Case, str, str, float]]:
    """Run cases: each with its verdict, the details and the seconds. Those on the same kind of cluster share it."""
    child = Child(machine)
    try:
        for case in sorted(cases, key=lambda case: (case.cluster, case.files == "proxy", case.seed)):
            if reason := machine.lacks(case):
                yield case, "left out", reason, 0.0
                continue
            yield case, *child.ask(case)
        if child._process is not None:
            verdict, detail, seconds = child.ask(None)
            if verdict != "end":
                yield cases[-1], verdict, f"at the end of all cases: {detail}", seconds
    finally:
        child.close()


def main() -> int:
    """Run from the command line; 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="the first one; each case has the next")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="S", help="these, in place of N from S on")
    parser.add_argument("--verbose", action="store_true", help="print every case")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # in order, so that nothing is left
    # Whatever loses its parent becomes a child of this process, and is found (prctl(2), PR_SET_CHILD_SUBREAPER).
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    os.environ[MARK] = f"{os.getpid()}-{time.time_ns()}"
    table: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    verdicts: collections.Counter[str] = collections.Counter()
    began = time.monotonic()
    with contextlib.ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="af-kit-faults-")))
        folder.chmod(0o711)
        machine = Machine(folder)
        # Also if the run is ended before it is done
        parts.callback(lambda: _print(machine, table, verdicts, time.monotonic() - began))
        seeds = arguments.seeds or range(arguments.seed, arguments.seed + arguments.cases)
        for case, verdict, detail, seconds in run([choose(seed) for seed in seeds], machine):
            verdicts[verdict] += 1
            for fault in case.faults:
                table[fault.kind][verdict] += 1
            if verdict not in RIGHT:
                print(f"{verdict}: seed {case.seed}, {case}\n    {detail}", flush=True)
            elif arguments.verbose:
                print(f"{verdict} in {seconds:g} s: seed {case.seed}, {case}", flush=True)
    return int(bool(set(verdicts) - set(RIGHT)))


def _print(
    machine: Machine, table: Mapping[str, collections.Counter[str]], verdicts: Mapping[str, int], seconds: float
) -> None:
    for need, reason in machine.missing.items():
        print(f"left out, without {need}: {reason}")
    for kind in sorted(table):
        print(f"  {kind:<22} {', '.join(f'{n} {verdict}' for verdict, n in sorted(table[kind].items()))}")
    print(f"{sum(verdicts.values())} cases in {seconds:.0f} s: {dict(verdicts)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
