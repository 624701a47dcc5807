"""One process of the fault harness: runs cases, one after the other, and judges what is left of each run.

A case is right if its result equals the undisturbed one bit for bit ("same"); or if its report lists exactly what is
missing, and ``retry()`` completes it once the fault is undone ("listed"); or if `process` raises an error of the kit
that fits the fault, and a second run is complete ("refused"); or if another process continues a killed one's run from
its checkpoint ("resumed"). In each case nothing may be left: no process, task, file, mount or proxy.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clusters import END_S, MEMORY, READY_S, WORKERS, Cluster
from faults import KINDS, Stage
from judge import Judge, check_error, check_skim, saved_entries
from machine import (
    Finding,
    described,
    is_helper,
    mount_small,
    mounts,
    orphans,
    processes,
    small_disk,
    unmount,
    wait_until,
)
from runs import CHUNK, Watched, fileset, function
from triggers import Triggers

import af_kit as af
from af_kit.errors import AfKitError
from af_kit.plugins.proxy import send_proxy

# Lifetime of a proxy that expires during the run: a busy machine needs seconds to open the first file.
_PROXY_S = 8.0


@dataclass(frozen=True)
class Job:
    """What `af_kit.process` is called with, and where a skim goes."""

    run: str
    source: Any
    function: Watched
    options: dict[str, Any]
    output: str

    def process(self, client: Any) -> Any:
        """Run it."""
        return af.process(self.function, self.source, client, **self.options)


class Child:
    """Runs cases in one folder; the cluster and the servers of a case are used again as long as they can be.

    Parameters
    ----------
    folder : Path
        For the files of the cases, of the cluster and of the servers.
    samples : Path
        The intact files in ``run``, and other files of the same names in ``others``.
    """

    def __init__(self, folder: Path, samples: Path) -> None:
        self.folder, self.samples = folder, samples
        self.cluster: Cluster | None = None
        self.servers: Any = None
        self.clocks = {"here": Path(os.environ["AF_KIT_CLOCK"]), "workers": folder / "clock-workers"}
        self.clocks["workers"].write_bytes(bytes(8))
        self.judge = Judge(samples / "run", folder / "scratch")
        self._mounts = mounts()

    def verdict(self, case: Mapping[str, Any]) -> str:
        """Run one case and return the verdict; a `Finding` if it is not right."""
        kinds = [KINDS[fault["kind"]] for fault in case["faults"]]
        small = {kind.disk for kind in kinds} - {""}
        stage = Stage(case["run"], self.folder / "case", self.samples / "others", clocks=self.clocks)
        shutil.rmtree(stage.folder, ignore_errors=True)
        stage.calls.mkdir(parents=True)
        shutil.copytree(self.samples / "run", stage.data)
        with contextlib.ExitStack() as parts:
            stage.cluster = self._cluster_for(case)
            if "spill" in small and stage.cluster is not None:
                stage.disk = stage.cluster.folder
            elif small:
                stage.disk = parts.enter_context(small_disk(stage.folder / "disk"))
            job = self._job(case, stage, small, parts)
            if any(fault["kind"] == "client killed" for fault in case["faults"]):
                verdict = self._with_a_killed_client(case, stage, job)
            else:
                verdict = self._with_faults(case, stage, job)
        self._check_left(stage)
        return verdict

    def close(self) -> None:
        """End the cluster and the servers."""
        self._close_cluster()
        if self.servers is not None:
            self.servers.stop()

    # ----------------------------------------------------------------------------------------------- a case with faults

    def _with_faults(self, case: Mapping[str, Any], stage: Stage, job: Job) -> str:
        triggers = Triggers(stage, case["faults"], case["seed"])
        result = error = None
        try:
            triggers.start()
            result = job.process(self._client())
        except AfKitError as raised:
            error = raised
        finally:
            triggers.finish()
        if result is not None and result.report.complete:
            self._check(stage, job, result, exact=True)
            return "same"
        if error is not None:
            check_error(error, case["faults"])
            self._recover(case, stage)
            self._check(stage, job, job.process(self._client()), exact=False)
            return "refused"
        self.judge.check_part(job.run, result, job.source)
        self._recover(case, stage)
        assert result is not None
        self._check(stage, job, result.retry(self._client()), exact=False)
        return "listed"

    def _with_a_killed_client(self, case: Mapping[str, Any], stage: Stage, job: Job) -> str:
        """Run in another process and kill it; continue from its checkpoint in this one."""
        (fault,) = [fault for fault in case["faults"] if fault["kind"] == "client killed"]
        (stage.calls / f"gate-{fault['at']}").write_text(fault["when"])
        address = self.cluster.client.scheduler.address if self.cluster is not None else ""
        question = {"run": job.run, "folder": str(self.folder), "output": job.output, "address": address}
        question["checkpoint"] = str(job.options["checkpoint"])
        triggers = Triggers(stage, [other for other in case["faults"] if other is not fault], case["seed"])
        triggers.start()
        command = [sys.executable, __file__, "--client", json.dumps(question)]
        client = subprocess.Popen(command, stdout=sys.stderr)
        try:
            reached = stage.calls / f"reached-{fault['at']}"
            wait_until(
                lambda: reached.exists() or client.poll() is not None, "the call of a killed client", 2 * READY_S
            )
        finally:
            client.kill()
            client.wait()
            triggers.finish()
        (stage.calls / f"passed-{fault['at']}").touch()
        wait_until(lambda: not orphans(), lambda: f"end of a killed client's {described(orphans())}", END_S)
        if (cluster := self.cluster) is not None:
            wait_until(lambda: not cluster.tasks() and cluster.is_idle(), "end of a killed client's tasks", END_S)
        shutil.move(stage.calls, stage.folder / "calls-before")
        stage.calls.mkdir()
        saved = saved_entries(Path(str(job.options["checkpoint"])))
        self._recover(case, stage)
        result = job.process(self._client())
        self._check(stage, job, result, exact=False)
        calls = [path.read_text().split() for path in stage.calls.glob("call-*")]
        called = sum(int(stop) - int(start) for start, stop in calls)
        planned = result.report.entries["planned"]
        if called != planned - saved:
            raise Finding("wrong", f"{saved} of {planned} entries were saved, but {called} were processed again")
        return "resumed"

    def _check(self, stage: Stage, job: Job, result: Any, *, exact: bool) -> None:
        self.judge.check_whole(job.run, result, exact=exact)
        if job.run == "skim":
            on_server = job.output.startswith("root://")
            folder = stage.servers.data / "store" / "output" if on_server else Path(job.output)
            check_skim(result, job.output, folder)

    # ------------------------------------------------------------------------------------------------ what a case needs

    def _job(self, case: Mapping[str, Any], stage: Stage, small: set[str], parts: contextlib.ExitStack) -> Job:
        run, output = case["run"], str((stage.disk if "output" in small and stage.disk else stage.folder) / "output")
        folder = stage.disk if "checkpoint" in small and stage.disk else stage.folder
        checkpoint = folder / "checkpoint" if case["checkpoint"] else None
        options: dict[str, Any] = {"checkpoint": checkpoint, "progress": False}
        source: Any = fileset(run, str(stage.data))
        if case["files"] != "disk":
            stage.servers = self._start_servers(stage.data)
        if case["files"] == "server":
            from services.xrootd.relay import Relay

            stage.relay = Relay(stage.servers.url("anonymous"))
            parts.callback(stage.relay.close)
            source, output = fileset(run, stage.relay.url("/store/case")), stage.relay.url("/store/output")
        if case["files"] == "proxy":
            source = self._behind_a_proxy(stage, source)
        else:
            options["chunk_entries"] = CHUNK
        return Job(run, source, Watched(function(run, stage.data, output), str(stage.calls)), options, output)

    def _start_servers(self, data: Path) -> Any:
        from services.xrootd.server import XRootD

        if self.servers is None:
            self.servers = XRootD(self.folder / "xrootd")
        self.servers.start(["anonymous", "gsi"])
        store = self.servers.data / "store"
        shutil.copytree(data, store / "case", dirs_exist_ok=True)
        shutil.rmtree(store / "output", ignore_errors=True)
        return self.servers

    def _behind_a_proxy(self, stage: Stage, source: Any) -> list[Any]:
        """Return the chunks of files on the server that asks for a proxy, and send one that expires soon.

        Each file has a connection of its own, by another user's name: a connection outlives its proxy.
        """
        assert self.cluster is not None
        chunks = af.plan(source, chunk_entries=CHUNK)
        urls = {}
        for i, name in enumerate(dict.fromkeys(chunk.file for chunk in chunks)):
            url = stage.servers.url("gsi", f"/store/case/{Path(name).name}")
            urls[name] = url.replace("//localhost", f"//file{i}@localhost")
        proxy = stage.servers.proxy(stage.folder / "proxy", lifetime_s=_PROXY_S)
        authorities = stage.servers.authority.directory
        stage.proxy = send_proxy(self.cluster.client, proxy, cert_dir=authorities, min_lifetime_s=0, watch=False)
        return [replace(c, file=urls[c.file], replicas=(urls[c.file],)) for c in chunks]

    # -------------------------------------------------------------------------------------------------------- clusters

    def _client(self) -> Any:
        return None if self.cluster is None else self.cluster.client

    def _tasks(self) -> list[str]:
        return [] if self.cluster is None else self.cluster.tasks()

    def _cluster_for(self, case: Mapping[str, Any]) -> Cluster | None:
        """Return a cluster of the case's kind: the one of the case before, if it can be used."""
        kind, names = case["cluster"], [fault["kind"] for fault in case["faults"]]
        if kind == "threads" or (kind == "local" and "client killed" in names):  # that client has its own
            self._close_cluster()
            return None
        if self.cluster is not None and (
            self.cluster.kind != kind or self.cluster.broken or self.cluster.incomplete or case["files"] == "proxy"
        ):
            self._close_cluster()
        if self.cluster is None:
            folder = self.folder / "cluster"
            if kind == "spilling":
                mount_small(folder)
            self.cluster = Cluster(kind, folder, self.clocks["workers"], networks=os.geteuid() == 0)
        return self.cluster

    def _recover(self, case: Mapping[str, Any], stage: Stage) -> None:
        """Wait for the cluster's workers, or start another cluster."""
        if self.cluster is not None and (self.cluster.broken or self.cluster.client.status != "running"):
            self.cluster.broken = True
            stage.cluster = self._cluster_for(case)
        elif self.cluster is not None:
            self.cluster.recover()
        if stage.proxy is not None:  # it expires, also if the fault has not been reached
            stage.servers.proxy(Path(stage.proxy.info.source))
            stage.proxy.refresh()

    def _close_cluster(self) -> None:
        """End the cluster, and check that nothing of it is left."""
        cluster, self.cluster = self.cluster, None
        if cluster is None:
            return
        cluster.close()

        def remaining() -> list[Any]:
            return [process for process in processes() if process.pid != os.getpid() and not is_helper(process)]

        wait_until(
            lambda: not remaining(), lambda: f"end of a {cluster.kind} cluster's {described(remaining())}", END_S
        )
        kept = (".log", ".json", ".lock", ".dirlock")  # its logs, and what Dask never removes
        left = [path for path in cluster.folder.rglob("*") if path.is_file() and path.suffix not in kept]
        left += (self.folder / "registry").rglob("*.json")
        if left:
            raise Finding(
                "left", f"a {cluster.kind} cluster left {[str(p.relative_to(self.folder)) for p in left[:5]]}"
            )
        if cluster.kind == "spilling":
            unmount(cluster.folder)
        shutil.rmtree(cluster.folder, ignore_errors=True)

    def _check_left(self, stage: Stage) -> None:
        """Check that a case has left nothing on the cluster or on this machine."""
        if self.cluster is not None and (self.cluster.broken or stage.proxy is not None):
            self._close_cluster()
        if self.cluster is not None:
            self.cluster.recover()
            wait_until(lambda: not self._tasks(), lambda: f"end of the tasks {self._tasks()[:5]}", END_S)
        wait_until(lambda: not orphans(), lambda: f"end of the orphans {described(orphans())}", END_S)
        spilling = {str(self.cluster.folder)} if self.cluster is not None and self.cluster.kind == "spilling" else set()
        left = [path for path in mounts() - self._mounts - spilling if not path.startswith("/run/netns")]
        if left:
            raise Finding("left", f"mounts {sorted(left)}")
        if stage.proxy is not None and (proxies := list(self.folder.rglob("x509up*"))):
            raise Finding("left", f"proxies {proxies}")


# ----------------------------------------------------------------------------------------------------------------- main


def _be_the_client(question: Mapping[str, Any]) -> None:
    """Run a job on the cluster at an address, or on an own one; another process kills this one meanwhile."""
    stage = Stage(question["run"], Path(question["folder"]) / "case")
    source = fileset(stage.run, str(stage.data))
    watched = Watched(function(stage.run, stage.data, question["output"]), str(stage.calls))
    own: dict[str, Any] = {"n_workers": WORKERS, "memory": MEMORY, "dashboard": False}
    with af.connect(question["address"] or "local", quiet=True, **({} if question["address"] else own)) as client:
        af.process(watched, source, client, chunk_entries=CHUNK, checkpoint=question["checkpoint"], progress=False)


def main() -> None:
    """Judge the cases that come on standard input, a JSON line each; an empty line ends it in order."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # for whatever else prints
    child = Child(Path(sys.argv[1]), Path(sys.argv[2]))
    for line in sys.stdin:
        began = time.monotonic()
        try:
            verdict, detail = child.verdict(json.loads(line)) if line.strip() else "end", ""
            if verdict == "end":
                child.close()
        except Finding as finding:
            verdict, detail = finding.verdict, finding.detail
        except Exception:  # noqa: BLE001 - the finding itself
            verdict, detail = "foreign", traceback.format_exc(limit=-12)
        print(json.dumps([verdict, detail, round(time.monotonic() - began, 1)]), file=answers, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--client":
        _be_the_client(json.loads(sys.argv[2]))
    else:
        main()
