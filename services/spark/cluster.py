"""Spark's standalone master and two workers, from the pyspark wheel in the environment of the benchmarks."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.common import ROOT, Service, ServiceError, find_program, processes_below, stop_all

__all__ = ["PROGRAMS", "PYTHON", "Spark", "missing", "packages"]

PYTHON = ROOT / ".venv-bench" / "bin" / "python"
"""The interpreter of the session and of the executors: the kit's packages, and pyspark."""
PROGRAMS = ("java", str(PYTHON))
"""The programs that the service needs."""

_WORKERS = ("worker-1", "worker-2")
_HOST = "127.0.0.1"
# Java programs of a few minutes: no second compiler, and one thread that frees memory.
_JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def missing() -> str:
    """Return why the cluster cannot run here, apart from missing `PROGRAMS`; empty if it can."""
    return "" if (packages() / "pyspark").exists() else f"no pyspark in {packages()}"


def packages() -> Path:
    """Return the folder of the environment's packages; ``pyspark`` in it is a whole Spark."""
    return PYTHON.parents[1] / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


class Spark(Service):
    """A master and two workers, with one core and one GiB of memory each."""

    name = "spark"
    processes = ("master", *_WORKERS)

    @property
    def master(self) -> str:
        """The master's address, for a session."""
        return f"spark://{_HOST}:{self.port('master')}"

    def environment(self) -> dict[str, str]:
        """Return the variables that a session needs."""
        return {
            "SPARK_HOME": str(packages() / "pyspark"),
            "SPARK_LOCAL_IP": _HOST,
            "PYSPARK_PYTHON": str(PYTHON),
            "JAVA_TOOL_OPTIONS": _JAVA_OPTIONS,
        }

    def settings(self) -> dict[str, str]:
        """Return the settings that a session needs to listen on the loopback only."""
        return {
            "spark.driver.host": _HOST,
            "spark.driver.bindAddress": _HOST,
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.executorEnv.JAVA_TOOL_OPTIONS": _JAVA_OPTIONS,
            "spark.executorEnv.PYTHONPATH": str(ROOT),
        }

    @contextmanager
    def session(self, settings: Mapping[str, object]) -> Iterator[Any]:
        """Yield a SparkSession of this process, which has `environment`, and end it and its Java after the block."""
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.master(self.master)
        for name, value in {**self.settings(), **settings}.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        gateway = session.sparkContext._gateway
        try:
            yield session
        finally:
            session.stop()
            gateway.shutdown()
            gateway.proc.stdin.close()
            gateway.proc.wait(30)

    def worker_folder(self, name: str) -> Path:
        """Return the folder of a worker, with those of its executors."""
        return self.folder / name

    def _start(self) -> None:
        if absent := missing():
            raise ServiceError(f"spark is not installed: {absent}. `.venv/bin/python benchmarks/environment.py` does.")
        ports = self._choose_ports("master", "master-page", *_WORKERS)
        java = ["master.Master", "--host", _HOST, "--port", str(ports["master"])]
        self._spawn_class("master", [*java, "--webui-port", str(ports["master-page"])])
        self._wait_until_listening("master", ports["master"], within_s=60)
        for name in _WORKERS:
            shutil.rmtree(self.worker_folder(name), ignore_errors=True)
            options = ["--cores", "1", "--memory", "1g", "--work-dir", str(self.worker_folder(name))]
            page = ["--webui-port", str(ports[name])]
            self._spawn_class(name, ["worker.Worker", "--host", _HOST, *page, *options, self.master])
        for name in _WORKERS:
            log = self.log(name)
            self._wait_until(
                name,
                lambda log=log: "Successfully registered with master" in log.read_text(errors="replace"),
                f"{name} does not reach the master",
                within_s=60,
            )

    def _stop(self) -> None:
        """Stop all processes, also executors of applications that have not ended."""
        running = [self.process(name) for name in self.running()]
        below = [process for parent in running for process in processes_below(parent)]
        super()._stop()
        stop_all(below)

    def _spawn_class(self, name: str, command: list[str]) -> None:
        """Start one of Spark's programs with the options that keep it small and on the loopback."""
        find_program("java")
        self.log(name).unlink(missing_ok=True)  # a start waits for a line in it
        environment = {
            **self.environment(),
            "SPARK_DAEMON_MEMORY": "256m",
            "SPARK_DAEMON_JAVA_OPTS": "-Dspark.master.rest.enabled=false",  # its port is fixed
            "SPARK_WORKER_OPTS": "-Dspark.worker.cleanup.enabled=true",
            "SPARK_LOCAL_DIRS": str(self.folder / "local"),
        }
        (self.folder / "local").mkdir(exist_ok=True)
        script = str(packages() / "pyspark" / "bin" / "spark-class")
        self._spawn(name, [script, f"org.apache.spark.deploy.{command[0]}", *command[1:]], environment)
