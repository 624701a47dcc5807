"""One process of the fault harness: runs cases, one after the other, and judges what is left of each run.

A case is right if its result equals the undisturbed one bit for bit; or if its report lists exactly what is missing,
and ``retry()`` completes it once the fault is undone; or if `process` raised an error of the kit that fits the fault,
and a second run succeeds. In each case nothing may be left: no process, task, file, mount, namespace or proxy.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from clusters import END_S, MARK, Cluster, processes, wait_until
from faults import KINDS, Kind, Stage
from runs import CHUNK, Watched, bits, fileset, function, is_close, undisturbed

import af_kit as af
from af_kit.errors import AfKitError
from af_kit.plugins.proxy import send_proxy
from af_kit.run.stage_out import clean, verify, write_manifest

HERE = Path(__file__).resolve().parent
# Lifetime of a proxy that expires during the run: a busy machine needs seconds to open the first file.
_PROXY_S = 8.0
_SMALL_DISK = "6m"


class Finding(Exception):
    """What is not right: the verdict and the details."""


class Child:
    """Runs cases in one folder, with the same cluster and servers as long as they can be used again."""

    def __init__(self, folder: Path, samples: Path) -> None:
        self.folder, self.samples = folder, samples
        self.stage: Stage
        self.cluster: Cluster | None = None
        self.servers: Any = None
        self._undisturbed: dict[str, Any] = {}
        self.clocks = {"here": Path(os.environ["AF_KIT_CLOCK"]), "workers": folder / "clock-workers"}
        self.clocks["workers"].write_bytes(bytes(8))
        self.networks = os.geteuid() == 0
        self._mounts = _mounts()

    def judge(self, case: Mapping[str, Any]) -> tuple[str, str]:
        """Run one case; return the verdict and details."""
        try:
            verdict = self._run(case)
            self._check_left(case)
            return verdict, ""
        except Finding as finding:
            return str(finding.args[0]), str(finding.args[1])

    # ------------------------------------------------------------------------------------------------------ the parts

    def _run(self, case: Mapping[str, Any]) -> str:
        kinds = [KINDS[fault["kind"]] for fault in case["faults"]]
        on_disk = {kind.disk for kind in kinds} - {""}
        stage = self.stage = Stage(case["run"], self.folder / "case", self.samples / "others", clocks=self.clocks)
        shutil.rmtree(stage.folder, ignore_errors=True)
        stage.calls.mkdir(parents=True)
        shutil.copytree(self.samples / "run", stage.data)
        with contextlib.ExitStack() as parts:
            if on_disk - {"spill"}:
                stage.disk = parts.enter_context(_small_disk(stage.folder / "disk"))
            stage.cluster = self._cluster_for(case)
            if "spill" in on_disk and stage.cluster is not None:
                stage.disk = stage.cluster.folder
            source, output = self._source(case, parts)
            if "output" in on_disk:
                output = f"{stage.disk}/output"
            checkpoint = None
            if case["checkpoint"]:
                checkpoint = (stage.disk if "checkpoint" in on_disk else stage.folder) / "checkpoint"  # type: ignore[operator]
            options = {"checkpoint": checkpoint, "progress": False}
            if not isinstance(source, list):
                options["chunk_entries"] = CHUNK
            watched = Watched(function(case["run"], stage.data, output), str(stage.calls))
            if any(fault["kind"] == "client killed" for fault in case["faults"]):
                return self._with_a_killed_client(case, source, watched, output, options)
            return self._with_faults(case, kinds, source, watched, output, options)

    def _with_faults(
        self,
        case: Mapping[str, Any],
        kinds: list[Kind],
        source: Any,
        watched: Watched,
        output: str,
        options: dict[str, Any],
    ) -> str:
        triggers = Triggers(self.stage, case["faults"], case["seed"])
        result = error = None
        try:
            triggers.start()
            result = af.process(watched, source, self._client(), **options)
        except AfKitError as raised:
            error = raised
        finally:
            triggers.finish()
        if error is not None:
            self._check_error(error, kinds)
            self._recover(case)
            self._compare_whole(case, af.process(watched, source, self._client(), **options), output, exact=False)
            return "refused"
        assert result is not None
        if result.report.complete:
            # what the checkpoint did not hold is added in another order only if it held something: not in a first run
            self._compare_whole(case, result, output, exact=True)
            return "same"
        self._compare_part(case, result, source)
        self._recover(case)
        result = result.retry(self._client())
        self._compare_whole(case, result, output, exact=False)
        return "listed"

    def _with_a_killed_client(
        self, case: Mapping[str, Any], source: Any, watched: Watched, output: str, options: dict[str, Any]
    ) -> str:
        """Run in another process, which is killed; continue from its checkpoint in this one."""
        stage = self.stage
        (gate,) = [fault for fault in case["faults"] if fault["kind"] == "client killed"]
        others = [fault for fault in case["faults"] if fault is not gate]
        address = self.cluster.client.scheduler.address if self.cluster is not None else ""
        question = {"case": dict(case), "folder": str(self.folder), "output": output, "address": address}
        question["checkpoint"] = str(options["checkpoint"])
        (stage.calls / f"gate-{gate['at']}").write_text(gate["when"])
        triggers = Triggers(stage, others, case["seed"])
        before = {process.pid for process in processes()}
        triggers.start()
        command = [sys.executable, str(HERE / "case.py"), "--client"]
        client = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, stdout=sys.stderr)
        try:
            assert client.stdin is not None
            client.stdin.write(json.dumps(question))
            client.stdin.close()
            reached = stage.calls / f"reached-{gate['at']}"
            wait_until(lambda: reached.exists() or client.poll() is not None, "the killed client's call", 60)
        finally:
            client.kill()
            client.wait()
            triggers.finish()
        (stage.calls / f"passed-{gate['at']}").touch()
        wait_until(
            lambda: not {process.pid for process in processes()} - before - self._cluster_pids(),
            f"the end of what a killed client had started: {_list(processes())}",
            END_S,
        )
        if self.cluster is not None:
            wait_until(lambda: not self._tasks(), "the end of the tasks of a killed client", END_S)
        shutil.move(stage.calls, stage.folder / "first-calls")
        stage.calls.mkdir()
        saved = _saved_entries(Path(str(options["checkpoint"])))
        self._recover(case)
        result = af.process(watched, source, self._client(), **options)
        self._compare_whole(case, result, output, exact=False)
        called = sum(stop - start for start, stop in _calls(stage.calls))
        whole = result.report.entries["planned"]
        if called != whole - saved:
            raise Finding("wrong", f"{saved} of {whole} entries were saved, but {called} were processed again")
        return "resumed"

    def _client(self) -> Any:
        return None if self.cluster is None else self.cluster.client

    def _cluster_for(self, case: Mapping[str, Any]) -> Cluster | None:
        """Return a cluster of the case's kind: the one of the case before, if it can be used."""
        kind = case["cluster"]
        fresh = any(KINDS[fault["kind"]].files == "proxy" for fault in case["faults"])
        own_client = any(fault["kind"] == "client killed" for fault in case["faults"])
        if kind == "threads" or (own_client and kind == "local"):
            self.close_cluster()
            return None
        if self.cluster is not None and (
            self.cluster.kind != kind or fresh or self.cluster.broken or self.cluster.incomplete
        ):
            self.close_cluster()
        if self.cluster is None:
            folder = self.folder / "cluster"
            if kind == "spilling":
                _mount_small(folder)
            self.cluster = Cluster(kind, folder, self.clocks["workers"], networks=self.networks)
        return self.cluster

    def close_cluster(self) -> None:
        """End the cluster, and check that nothing of it is left."""
        cluster, self.cluster = self.cluster, None
        if cluster is None:
            return
        cluster.close()
        own = {os.getpid()}
        wait_until(
            lambda: not [p for p in processes() if p.pid not in own and not _is_service(p)],
            f"the end of the processes of a {cluster.kind} cluster: {_list(processes())}",
            END_S,
        )
        left = [path for path in cluster.folder.rglob("*") if _is_left(path)]
        if left:
            raise Finding(
                "left", f"a {cluster.kind} cluster left {[str(p.relative_to(self.folder)) for p in left][:5]}"
            )
        registered = list((self.folder / "registry").rglob("*.json"))
        if registered:
            raise Finding("left", f"a {cluster.kind} cluster left {registered}")
        if cluster.kind == "spilling":
            _unmount(cluster.folder)
        shutil.rmtree(cluster.folder, ignore_errors=True)

    def _source(self, case: Mapping[str, Any], parts: contextlib.ExitStack) -> tuple[Any, str]:
        """Return the fileset, or the chunks, of a case, and where a skim goes."""
        stage = self.stage
        if case["files"] == "disk":
            return fileset(case["run"], str(stage.data)), str(stage.folder / "output")
        from services.xrootd.relay import Relay

        stage.servers = self._start_servers()
        store = stage.servers.data / "store"
        shutil.copytree(stage.data, store / "case", dirs_exist_ok=True)
        shutil.rmtree(store / "output", ignore_errors=True)
        if case["files"] == "server":
            stage.relay = Relay(stage.servers.url("anonymous"))
            parts.callback(stage.relay.close)
            return fileset(case["run"], stage.relay.url("/store/case")), stage.relay.url("/store/output")
        assert self.cluster is not None
        proxy = stage.servers.proxy(stage.folder / "proxy", lifetime_s=_PROXY_S)
        stage.proxy = send_proxy(
            self.cluster.client, proxy, cert_dir=stage.servers.authority.directory, min_lifetime_s=0, watch=False
        )
        # Each file on a connection of its own, by another user's name: a connection outlives its proxy.
        chunks = af.plan(fileset(case["run"], str(stage.data)), chunk_entries=CHUNK)
        names = list(dict.fromkeys(chunk.file for chunk in chunks))
        urls = {
            name: stage.servers.url("gsi", f"/store/case/{Path(name).name}").replace(
                "//localhost", f"//file{i}@localhost"
            )
            for i, name in enumerate(names)
        }
        return [replace(c, file=urls[c.file], replicas=(urls[c.file],)) for c in chunks], ""

    def _start_servers(self) -> Any:
        from services.xrootd.server import XRootD

        if self.servers is None:
            self.servers = XRootD(self.folder / "xrootd")
        self.servers.start(["anonymous", "gsi"])
        return self.servers

    def _recover(self, case: Mapping[str, Any]) -> None:
        """Bring the cluster back to what it was, or start another one."""
        if self.cluster is not None and (self.cluster.broken or self.cluster.client.status != "running"):
            self.cluster.broken = True
            self.stage.cluster = self._cluster_for(case)
        elif self.cluster is not None:
            self.cluster.recover()

    # ------------------------------------------------------------------------------------------------------ judgement

    def _whole(self, run: str) -> Any:
        if run not in self._undisturbed:
            folder = self.folder / "undisturbed"
            source = fileset(run, str(self.samples / "run"))
            self._undisturbed[run] = undisturbed(run, source, self.samples / "run", str(folder))
            self._undisturbed[run].report.check()
            shutil.rmtree(folder, ignore_errors=True)
        return self._undisturbed[run]

    def _compare_whole(self, case: Mapping[str, Any], result: Any, output: str, *, exact: bool) -> None:
        report, whole = result.report, self._whole(case["run"])
        if not report.complete:
            raise Finding("incomplete", f"after the fault was undone:\n{report}")
        report.check()
        if report.entries != whole.report.entries:
            raise Finding("wrong", f"{report.entries} instead of {whole.report.entries}")
        if not (bits(result) == bits(whole) if exact else is_close(dict(result), dict(whole))):
            raise Finding("wrong", f"another result than the undisturbed one, {exact=}: {_difference(result, whole)}")
        if case["run"] == "skim":
            self._check_skim(result, output)

    def _compare_part(self, case: Mapping[str, Any], result: Any, source: Any) -> None:
        """An incomplete result is what is not listed, and nothing else."""
        report = result.report
        entries = report.entries
        if entries["processed"] + entries["failed"] != entries["planned"]:
            raise Finding("wrong", f"the entries do not add up: {report}")
        if sum(failure.entries for failure in report.failures) != entries["failed"]:
            raise Finding("wrong", f"the failures do not add up: {report}")
        if any(failure.kind == "function" for failure in report.failures):
            raise Finding("wrong", f"the function is blamed: {report}")
        chunks = source if isinstance(source, list) else af.plan(source, chunk_entries=CHUNK)
        failed = {(f.dataset, f.file, f.entry_start) for f in report.failures}
        done = [
            c for c in chunks
            if (c.dataset, c.file, c.entry_start) not in failed and (c.dataset, c.file, None) not in failed
        ]  # fmt: skip
        if sum(map(len, done)) != entries["processed"]:
            raise Finding("wrong", f"{sum(map(len, done))} entries are not listed as failed: {report}")
        expected = undisturbed(case["run"], done, self.stage.data, str(self.folder / "part")) if done else {}
        shutil.rmtree(self.folder / "part", ignore_errors=True)
        if not is_close(dict(result), dict(expected)):
            raise Finding("wrong", f"the result is not that of the chunks that did not fail: {report}")

    def _check_error(self, error: AfKitError, kinds: list[Kind]) -> None:
        text = "".join(traceback.format_exception(error, limit=-8))
        if not str(error).strip():
            raise Finding("unfitting", f"an error without a message: {text}")
        if not isinstance(error, tuple(fitting for kind in kinds for fitting in kind.errors)):
            raise Finding("unfitting", f"this error does not fit the fault: {text}")

    def _check_skim(self, result: Any, output: str) -> None:
        manifest = verify(write_manifest(result["skim"], output))
        clean(output, manifest)
        if output.startswith("root://"):
            output = str(self.stage.servers.data / "store" / "output")
        found = sorted(str(path.relative_to(output)) for path in Path(output).rglob("*") if path.is_file())
        expected = sorted(["manifest.json", *(row["file"] for row in manifest.rows if row["file"])])
        if found != expected:
            raise Finding("left", f"the skim's folder has {sorted(set(found) ^ set(expected))[:5]}, in one of both")

    def _check_left(self, case: Mapping[str, Any]) -> None:
        """Check that the case has left nothing on the cluster or on this machine."""
        if self.stage.proxy is not None:
            self.close_cluster()
        if self.cluster is not None and not self.cluster.broken:
            self.cluster.recover()
            wait_until(lambda: not self._tasks(), f"the end of tasks: {self._tasks()[:5]}", 20)
        elif self.cluster is not None:
            self.close_cluster()
        # whose parent has ended: a child of this harness has a parent of this harness
        wait_until(lambda: not _orphans(), f"the end of orphans: {_list(_orphans())}", END_S)
        kept = {str(self.cluster.folder)} if self.cluster is not None and self.cluster.kind == "spilling" else set()
        left = {path for path in _mounts() - self._mounts - kept if not path.startswith("/run/netns")}
        if left:
            raise Finding("left", f"mounts: {sorted(left)}")
        secrets = [
            path for path in self.folder.rglob("x509up*") if self.cluster is None and "xrootd" not in path.parts
        ]  # fmt: skip
        if secrets:
            raise Finding("left", f"proxies: {secrets}")

    def _tasks(self) -> list[str]:
        return self.cluster.tasks() if self.cluster is not None else []

    def _cluster_pids(self) -> set[int]:
        """Return the processes that belong to the cluster now: its workers may be new."""
        if self.cluster is None:
            return set()
        return {process.pid for process in processes() if not _is_orphan(process)}

    def close(self) -> None:
        """End everything."""
        self.close_cluster()
        if self.servers is not None:
            self.servers.stop()


class Triggers:
    """Starts each fault of a case when its call has reached the gate, and undoes it."""

    def __init__(self, stage: Stage, faults: list[Mapping[str, Any]], seed: int) -> None:
        self._stage, self._over = stage, threading.Event()
        self._problems: list[str] = []
        self._threads = []
        self._early = []
        for i, fault in enumerate(faults):
            rng = random.Random(f"{seed} {i}")
            if fault["at"] < 0:
                self._early.append((fault, rng))
            else:
                (stage.calls / f"gate-{fault['at']}").write_text(fault["when"])
                self._threads.append(threading.Thread(target=self._at_gate, args=(fault, rng), daemon=True))

    def start(self) -> None:
        """Start what happens before the run, and wait for the calls."""
        for fault, rng in self._early:
            undo = self._begin(fault, rng)
            self._threads.append(threading.Thread(target=self._end, args=(fault, undo), daemon=True))
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Undo what still is; raise if the harness itself has failed."""
        self._over.set()
        for thread in self._threads:
            thread.join(90)
        if self._problems:
            raise Finding("harness", "\n".join(self._problems))

    def _at_gate(self, fault: Mapping[str, Any], rng: random.Random) -> None:
        reached = self._stage.calls / f"reached-{fault['at']}"
        while not reached.exists():
            if self._over.wait(0.02):
                return
        undo = self._begin(fault, rng)
        (self._stage.calls / f"passed-{fault['at']}").touch()
        self._end(fault, undo)

    def _begin(self, fault: Mapping[str, Any], rng: random.Random) -> Callable[[], None]:
        try:
            return KINDS[fault["kind"]].start(replace(self._stage, gate=fault["at"]), rng)
        except Exception:  # noqa: BLE001 - a bug of the harness, which is reported as such
            self._problems.append(traceback.format_exc())
            return lambda: None

    def _end(self, fault: Mapping[str, Any], undo: Callable[[], None]) -> None:
        self._over.wait(fault["lasts_s"])
        try:
            undo()
        except Exception:  # noqa: BLE001 - as above
            self._problems.append(traceback.format_exc())


# ----------------------------------------------------------------------------------------------------------- machine


def _mounts() -> set[str]:
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def _mount_small(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SMALL_DISK}", "small", str(folder)], check=True)


def _unmount(folder: Path) -> None:
    done = subprocess.run(["umount", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:  # something still uses it
        raise Finding("left", f"{done.stderr.strip()}: {_list(processes())}")


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    _mount_small(folder)
    try:
        yield folder
    finally:
        _unmount(folder)


def _is_orphan(process: Any) -> bool:
    import psutil

    with contextlib.suppress(psutil.Error):
        if process.pid == os.getpid() or _is_service(process):
            return False
        return bool(psutil.Process(process.ppid()).environ().get(MARK) != os.environ[MARK])
    return False


def _orphans() -> list[Any]:
    return [process for process in processes() if _is_orphan(process)]


def _is_service(process: Any) -> bool:
    import psutil

    with contextlib.suppress(psutil.Error):
        return process.name() == "xrootd" or "multiprocessing.resource_tracker" in " ".join(process.cmdline())
    return True  # it has just ended


def _list(found: list[Any]) -> str:
    import psutil

    lines = []
    for process in found:
        with contextlib.suppress(psutil.Error):
            lines.append(f"{process.pid} (of {process.ppid()}) {' '.join(process.cmdline())[-120:]}")
    return "; ".join(lines)


def _is_left(path: Path) -> bool:
    """Return whether a file in a cluster's folder should not be there when the cluster has ended."""
    return path.is_file() and path.suffix not in (".log", ".json", ".lock", ".dirlock") and path.name != "filler"


def _difference(result: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    return ", ".join(str(key) for key in {*result, *other} if bits(result.get(key)) != bits(other.get(key)))


def _calls(folder: Path) -> list[tuple[int, int]]:
    return [tuple(map(int, path.read_text().split())) for path in folder.glob("call-*")]  # type: ignore[misc]


def _saved_entries(checkpoint: Path) -> int:
    import pickle

    entries: Counter[str] = Counter()
    for path in checkpoint.rglob("*.pickle"):
        entries.update(pickle.loads(path.read_bytes()[32:]).bookkeeping.entries)
    return entries.total()


# --------------------------------------------------------------------------------------------------------------- main


def _be_the_client() -> None:
    """Run what the question on standard input says; another process kills this one meanwhile."""
    question = json.loads(sys.stdin.read())
    case, folder = question["case"], Path(question["folder"])
    stage = Stage(case["run"], folder / "case")
    watched = Watched(function(case["run"], stage.data, question["output"]), str(stage.calls))
    source = fileset(case["run"], str(stage.data))
    options = {"chunk_entries": CHUNK, "checkpoint": question["checkpoint"], "progress": False}
    where = question["address"] or "local"
    more: dict[str, Any] = {} if question["address"] else {"n_workers": 2, "memory": "1 GiB", "dashboard": False}
    with af.connect(where, quiet=True, **more) as client:
        af.process(watched, source, client, **options)


def main() -> None:
    """Judge the cases that come on standard input, a JSON line each; the verdict goes to standard output."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints
    child = Child(Path(sys.argv[1]), Path(sys.argv[2]))
    for line in sys.stdin:
        began = time.monotonic()
        try:
            verdict, detail = child.judge(json.loads(line)) if line.strip() else ("end", "")
            if verdict == "end":
                child.close()
        except Exception as error:  # noqa: BLE001 - the finding itself
            verdict = "left" if isinstance(error, AssertionError) else "foreign"
            detail = traceback.format_exc(limit=-12)
        print(json.dumps([verdict, detail, round(time.monotonic() - began, 1)]), file=answers, flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--client"]:
        _be_the_client()
    else:
        main()
