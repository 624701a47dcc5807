"""Workers that keep Dask's protocol and do nothing else: a thousand of them in one process.

    python -m benchmarks.scale.protocol_workers tcp://127.0.0.1:8786 --workers 1000 --task-s 5

Each has its own address, its own stream to the scheduler, its own heartbeats and a listener for `client.run`, plugins
and results, so the scheduler and the client cannot tell them from real ones. A task of `af_kit.process` is not run: the
worker waits for a drawn time and then answers with what the function returns for a `range` in place of the events.
Merges are computed, because their sizes and their result count; they read their inputs from this process's memory, so
the network between workers is not part of any figure.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import hashlib
import heapq
import itertools
import os
import pickle
import random
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from dask.sizeof import sizeof
from distributed.batched import BatchedSend
from distributed.comm import CommClosedError, connect, listen
from distributed.core import error_message
from distributed.protocol import to_serialize
from distributed.protocol.pickle import dumps
from distributed.versions import get_versions
from tornado.ioloop import IOLoop

from af_kit.data import chunks
from af_kit.data.fileset.load import File
from af_kit.data.reading.layout import Layout
from af_kit.run.bookkeeping import Bookkeeping, Partial, Segment, combine

_MEMORY = 2 << 30
_DEFAULT_S = 0.001


@dataclass(frozen=True)
class Behaviour:
    """How long tasks take, and what goes wrong."""

    task_s: float = 5.0
    spread: float = 0.2
    """Standard deviation of a task's time, as a fraction of it."""
    plan_s: float = 0.05
    """Seconds to describe one file."""
    slow: float = 0.0
    """Fraction of the workers that take ten times as long."""
    leave_every: int = 0
    """After so many tasks of all workers one of them dies, and another one comes; 0 if none does."""
    silent_every: int = 0
    """After so many tasks one of them hangs: it keeps its connections and never answers again. Another one comes."""


class Farm:
    """The workers of this process."""

    def __init__(self, scheduler: str, behaviour: Behaviour, seed: int = 1) -> None:
        self.scheduler, self.behaviour = scheduler, behaviour
        self.workers: dict[str, ProtocolWorker] = {}
        self.random = random.Random(seed)
        self.versions = get_versions()
        self.numbers = itertools.count()
        self.died = self.hung = self.finished = 0
        self.coming: asyncio.Task[None] | None = None
        self.interval_s = 0.5

    async def start(self, number: int) -> None:
        """Start workers, some at a time."""
        turns = asyncio.Semaphore(32)

        async def one() -> None:
            async with turns:
                worker = ProtocolWorker(self, next(self.numbers))
                await worker.start()

        await asyncio.gather(*(one() for _ in range(number)))

    def count(self) -> None:
        """Count a finished task: now and then a worker dies or hangs, and another one comes."""
        self.finished += 1
        if self.behaviour.leave_every and self.finished % self.behaviour.leave_every == 0:
            self.died += 1
            self._replace(ProtocolWorker.abort)
        if self.behaviour.silent_every and self.finished % self.behaviour.silent_every == 0:
            self.hung += 1
            self._replace(ProtocolWorker.hang)

    def _replace(self, end: Callable[[ProtocolWorker], None]) -> None:
        end(self.random.choice([worker for worker in self.workers.values() if not worker.hung]))
        self.coming = asyncio.create_task(self.start(1))

    def find(self, key: Any, addresses: Iterable[str]) -> Any:
        """Return a result that a worker holds; raises KeyError if none does.

        The scheduler's list may be old: a worker that is not on it has a copy, and those that are on it have died.
        """
        for address in (*addresses, *self.workers):
            worker = self.workers.get(address)
            if worker is not None and not worker.hung and key in worker.data:
                return worker.data[key]
        raise KeyError(key)


class ProtocolWorker:
    """One worker with one thread."""

    def __init__(self, farm: Farm, number: int) -> None:
        self.farm, self.name = farm, f"protocol-{number}"
        self.slow = 10.0 if farm.random.random() < farm.behaviour.slow else 1.0
        self.data: dict[Any, Any] = {}
        self.ready: list[tuple[Any, int, dict[str, Any]]] = []
        self.order = itertools.count()
        self.known: dict[Any, str] = {}
        """State of each task that is not finished: ``ready``, ``executing``, or ``dropped`` while it executes."""
        self.running: asyncio.TimerHandle | None = None
        self.stream = BatchedSend(interval="2ms", loop=IOLoop.current())
        self.tasks: set[asyncio.Task[None]] = set()
        self.closed = self.hung = False

    # ------------------------------------------------------------------------------------------------- connections

    async def start(self) -> None:
        """Register with the scheduler."""
        self.listener = await listen("tcp://127.0.0.1:0", self._serve)
        self.address = self.listener.contact_address
        comm = await connect(self.farm.scheduler, deserialize=True)
        await comm.write(
            {
                "op": "register-worker",
                "reply": False,
                "address": self.address,
                "status": "running",
                "nthreads": 1,
                "name": self.name,
                "now": time.time(),
                "resources": {},
                "memory_limit": _MEMORY,
                "local_directory": "",
                "services": {},
                "nanny": None,
                "pid": os.getpid(),
                "versions": self.farm.versions,
                "metrics": self._metrics(),
                "extra": {},
                "stimulus_id": f"worker-connect-{time.time()}",
                "server_id": self.name,
            },
            serializers=["msgpack"],
        )
        answer = await comm.read(deserializers=["msgpack"])
        if answer["status"] != "OK":
            raise ConnectionError(answer)
        self.farm.interval_s = answer["heartbeat-interval"]
        self.farm.workers[self.address] = self
        self.comm = comm
        self.stream.start(comm)
        for coroutine in (self._listen(comm), self._heartbeats()):
            task = asyncio.create_task(coroutine)
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def abort(self) -> None:
        """Die without a word."""
        if self.closed:
            return
        self.closed = True
        self.farm.workers.pop(self.address, None)
        if self.running is not None:
            self.running.cancel()
        self.listener.stop()
        self.stream.abort()
        self.comm.abort()
        for task in list(self.tasks):
            task.cancel()

    def hang(self) -> None:
        """Do nothing any more, as a machine that has stopped."""
        self.hung = True
        if self.running is not None:
            self.running.cancel()

    async def _heartbeats(self) -> None:
        comm = await connect(self.farm.scheduler)
        try:
            await asyncio.sleep(self.farm.random.random() * self.farm.interval_s)
            while not self.closed and not self.hung:
                await comm.write(
                    {
                        "op": "heartbeat_worker",
                        "reply": True,
                        "address": self.address,
                        "now": time.time(),
                        "metrics": self._metrics(),
                        "executing": {key: 1.0 for key, state in self.known.items() if state == "executing"},
                        "extensions": {},
                    }
                )
                answer = await comm.read()
                if answer["status"] == "missing":
                    self.abort()
                    return
                self.farm.interval_s = answer["heartbeat-interval"]
                await asyncio.sleep(self.farm.interval_s)
        except OSError:
            pass
        finally:
            comm.abort()

    def _metrics(self) -> dict[str, Any]:
        """Return what a real worker reports, with the same keys."""
        return {
            "task_counts": {"executing": int(self.running is not None), "memory": len(self.data)},
            "bandwidth": {"total": 100_000_000, "workers": {}, "types": {}},
            "digests_total_since_heartbeat": {
                "tick-duration": 0.5,
                ("execute", "af-chunks", "thread-cpu", "seconds"): 4.5,
                ("execute", "af-chunks", "thread-noncpu", "seconds"): 0.5,
            },
            "managed_bytes": 0,
            "spilled_bytes": {"memory": 0, "disk": 0},
            "transfer": {
                "incoming_bytes": 0,
                "incoming_count": 0,
                "incoming_count_total": 0,
                "outgoing_bytes": 0,
                "outgoing_count": 0,
                "outgoing_count_total": 0,
            },
            "event_loop_interval": 0.02,
            "cpu": 98.0,
            "memory": 300 << 20,
            "time": time.time(),
            "host_net_io": {"read_bps": 1e6, "write_bps": 1e5},
            "host_disk_io": {"read_bps": 0.0, "write_bps": 0.0},
            "num_fds": 30,
        }

    async def _listen(self, comm: Any) -> None:
        """Act on the scheduler's stream."""
        try:
            while not self.closed:
                for message in await comm.read():
                    if not self.hung:
                        self._act(message)
        except (CommClosedError, OSError):
            self.abort()

    async def _serve(self, comm: Any) -> None:
        """Answer requests: results, plugins, functions to run."""
        with suppress(CommClosedError, OSError):
            while True:
                message = await comm.read()
                if self.hung:
                    continue
                op, reply, close = message.pop("op"), message.pop("reply", True), message.pop("close", False)
                if op == "get_data":
                    found = {key: self.data[key] for key in message["keys"] if key in self.data}
                    await comm.write(
                        {"status": "OK", "data": {key: to_serialize(value) for key, value in found.items()}},
                        serializers=message.get("serializers"),
                    )
                    await comm.read()
                elif reply:
                    await comm.write(self._answer(op, message))
                if close:
                    break
        await comm.close()

    def _answer(self, op: str, message: dict[str, Any]) -> Any:
        if op != "run":
            return {"status": "OK"}
        try:
            function = pickle.loads(message["function"])  # noqa: S301 - from the scheduler, as below
            args = pickle.loads(message["args"]) if message.get("args") else ()  # noqa: S301
            kwargs = pickle.loads(message["kwargs"]) if message.get("kwargs") else {}  # noqa: S301
            return {"status": "OK", "result": to_serialize(function(*args, **kwargs))}
        except Exception as error:  # noqa: BLE001 - the client raises it
            return error_message(error)

    # ------------------------------------------------------------------------------------------------------- tasks

    def _act(self, message: dict[str, Any]) -> None:
        op, key = message["op"], message.get("key")
        if op == "compute-task":
            self.known[key] = "ready"
            heapq.heappush(self.ready, (message["priority"], next(self.order), message))
            self._next()
        elif op in ("free-keys", "remove-replicas"):
            for each in message["keys"]:
                self.data.pop(each, None)
                if op == "free-keys":  # the other leaves a task alone that computes the key again
                    self._drop(each)
        elif op == "cancel-compute":
            self._drop(key)
        elif op == "steal-request":
            state = self.known.get(key)
            if state == "ready":
                self._drop(key)
            self.stream.send(
                {"op": "steal-response", "key": key, "state": state, "stimulus_id": message["stimulus_id"]}
            )
        elif op == "close":
            self.abort()

    def _drop(self, key: Any) -> None:
        state = self.known.get(key)
        if state == "ready":
            del self.known[key]
            self.ready = [item for item in self.ready if item[2]["key"] != key]
            heapq.heapify(self.ready)
        elif state == "executing":
            self.known[key] = "dropped"

    def _next(self) -> None:
        if self.running is not None or self.closed or not self.ready:
            return
        _, _, message = heapq.heappop(self.ready)
        self.known[message["key"]] = "executing"
        begin = time.time()
        spec = message["run_spec"]
        name = getattr(getattr(spec, "func", None), "__name__", "")
        behaviour = self.farm.behaviour
        mean = {"on_worker": behaviour.task_s, "describe_file": behaviour.plan_s}.get(name, _DEFAULT_S)
        if name == "describe_files":
            mean = behaviour.plan_s * len(spec.args[0])
        wait = max(0.0, self.farm.random.gauss(mean, mean * behaviour.spread)) * self.slow
        self.running = asyncio.get_running_loop().call_later(wait, self._finish, message, begin)

    def _finish(self, message: dict[str, Any], begin: float) -> None:
        key, self.running = message["key"], None
        state = self.known.pop(key)
        if state == "executing" and not self.closed:
            try:
                self._report(message, begin, self._value(message))
            except KeyError:
                pass  # the holder of an input has died: the scheduler takes the task back
            except Exception as error:  # noqa: BLE001 - sent to the scheduler
                self._report_error(message, begin, error)
            self.farm.count()
        self._next()

    def _value(self, message: dict[str, Any]) -> Any:
        spec = message["run_spec"]
        inputs = {key: self.farm.find(key, holders) for key, holders in message["who_has"].items()}
        copied = [key for key in inputs if key not in self.data]
        if copied:
            self.data |= {key: inputs[key] for key in copied}
            self.stream.send({"op": "add-keys", "keys": copied, "stimulus_id": f"add-{time.time()}"})
        if getattr(getattr(spec, "func", None), "__name__", "") == "on_worker":
            return self._partial(*spec.args[:2], spec.kwargs["context"], inputs)
        return spec(inputs) if callable(spec) else spec

    def _partial(self, payload: bytes, number: int, context: Any, inputs: dict[Any, Any]) -> Partial:
        """Return what `af_kit.run.task.run_group` returns, without reading a file."""
        packed = inputs[context.key] if hasattr(context, "key") else context
        function = packed.value().function
        parts = []
        for span in pickle.loads(payload):  # noqa: S301
            for chunk, start, stop in span.cuts:
                bookkeeping = Bookkeeping()
                bookkeeping.entries[span.dataset] += stop - start
                parts.append(Partial([Segment(chunk, chunk + 1, function(range(start, stop)))], bookkeeping))
        whole = combine(parts)
        whole.bookkeeping.workers = {self.name: (whole.bookkeeping.entries.total(), self.farm.behaviour.task_s)}
        whole.bookkeeping.spent("function", self.farm.behaviour.task_s)
        return whole

    def _report(self, message: dict[str, Any], begin: float, value: Any) -> None:
        self.data[message["key"]] = value
        self.stream.send(
            {
                "op": "task-finished",
                "status": "OK",
                "key": message["key"],
                "run_id": message["run_id"],
                "nbytes": sizeof(value),
                "type": dumps(type(value)),
                "typename": type(value).__name__,
                "metadata": {},
                "thread": 1,
                "startstops": [{"action": "compute", "start": begin, "stop": time.time()}],
                "stimulus_id": f"task-finished-{time.time()}",
            }
        )

    def _report_error(self, message: dict[str, Any], begin: float, error: Exception) -> None:
        about = error_message(error)
        self.stream.send(
            {
                "op": "task-erred",
                "status": "error",
                "key": message["key"],
                "run_id": message["run_id"],
                "exception": about["exception"],
                "traceback": about["traceback"],
                "exception_text": about["exception_text"],
                "traceback_text": about["traceback_text"],
                "thread": 1,
                "startstops": [{"action": "compute", "start": begin, "stop": time.time()}],
                "stimulus_id": f"task-erred-{time.time()}",
            }
        )


def imitate_files(path: str, treename: str) -> None:
    """Make planning tasks of this process see, at any path, a file like this one with content of its own."""
    model = chunks.describe_file(File((path,), treename))
    if not isinstance(model, Layout):
        raise TypeError(f"{path}: {model}")

    def describe_file(file: File, known: Any = None) -> Layout:
        digest = hashlib.sha256(file.path.encode()).hexdigest()
        layout = copy.copy(model)
        vars(layout).update(path=file.path, uuid=digest[:32], head=digest, digest=digest)
        return layout

    chunks.describe_file = describe_file


async def _main(options: argparse.Namespace) -> None:
    behaviour = Behaviour(options.task_s, options.spread, options.plan_s, options.slow, options.leave_every)
    behaviour = replace(behaviour, silent_every=options.silent_every)
    if options.like:
        imitate_files(options.like, "Events")
    farm = Farm(options.scheduler, behaviour)
    await farm.start(options.workers)
    print(f"ready: {len(farm.workers)} workers", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    print(f"died: {farm.died}, hung: {farm.hung}, finished: {farm.finished} tasks", flush=True)
    for worker in list(farm.workers.values()):
        worker.abort()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scheduler")
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--task-s", type=float, default=5.0, help="mean time of a task")
    parser.add_argument("--spread", type=float, default=0.2, help="its standard deviation, as a fraction")
    parser.add_argument("--plan-s", type=float, default=0.05, help="time to describe a file")
    parser.add_argument("--like", help="a file that every planned file resembles")
    parser.add_argument("--slow", type=float, default=0.0, help="fraction of workers that take ten times as long")
    parser.add_argument("--leave-every", type=int, default=0, help="a worker dies after so many tasks of all")
    parser.add_argument("--silent-every", type=int, default=0, help="a worker hangs after so many tasks of all")
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
