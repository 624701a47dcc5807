"""A Dask scheduler in a process of its own, which can say where its event loop spends the time.

python -m benchmarks.scale.scheduler out/scheduler.json --profile out/scheduler.txt
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections import Counter
from pathlib import Path
from types import FrameType

import dask.config
from distributed import Scheduler

from af_kit.cluster.scheduler_settings import SHORT_LOGS, collect_rarely

_EVERY_S = 0.01


async def _main(options: argparse.Namespace) -> None:
    dask.config.set({"distributed.scheduler.worker-ttl": options.ttl_s, **SHORT_LOGS})
    collect_rarely()
    options_of = {"host": "127.0.0.1", "port": 0, "dashboard": False, "scheduler_file": options.file}
    async with Scheduler(**options_of) as scheduler:
        print(f"address: {scheduler.address}", flush=True)
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        profile = Profile(options.profile) if options.profile else None
        await stop.wait()
        if profile:
            profile.stop()
        tasks, groups, computations = len(scheduler.tasks), len(scheduler.task_groups), len(scheduler.computations)
        print(f"left: {tasks} tasks, {groups} groups, {computations} computations", flush=True)


class Profile:
    """Samples of the main thread's stack, one per ten milliseconds of CPU time, written to a file at the end."""

    def __init__(self, path: Path) -> None:
        self.own: Counter[str] = Counter()
        self.below: Counter[str] = Counter()
        self.path = path
        signal.signal(signal.SIGPROF, self._sample)
        signal.signal(signal.SIGUSR1, self._begin)
        signal.setitimer(signal.ITIMER_PROF, _EVERY_S, _EVERY_S)

    def _begin(self, *_: object) -> None:
        """Forget what was before: the start of a thousand workers takes longer than many tasks."""
        self.own.clear()
        self.below.clear()

    def _sample(self, _: int, frame: FrameType | None) -> None:
        first, seen = True, set()
        while frame is not None:
            code = frame.f_code
            name = f"{code.co_filename.rpartition('site-packages/')[2]}:{code.co_name}"
            if first:
                self.own[name] += 1
            seen.add(name)
            first, frame = False, frame.f_back
        self.below.update(seen)

    def stop(self) -> None:
        """Write what was sampled."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.path.write_text(self.text())

    def text(self) -> str:
        """Return the functions with most samples, alone and with what they call."""
        total = sum(self.own.values()) or 1
        parts = []
        for title, counts in (("self", self.own), ("with callees", self.below)):
            lines = [f"{100 * count / total:5.1f} %  {name}" for name, count in counts.most_common(80)]
            parts.append("\n".join([title, *lines]))
        return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="where to write its address, as a scheduler file")
    parser.add_argument("--ttl-s", type=float, default=300, help="distributed.scheduler.worker-ttl")
    parser.add_argument("--profile", type=Path, help="where to write where the time went")
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
