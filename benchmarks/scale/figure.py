"""Draw docs/pictures/scaling.png: predicted throughputs, and the scheduler's load.

    .venv/bin/python -m benchmarks.scale.figure docs/pictures/scaling.png

The costs are those of docs/scaling.md, which are the defaults of the prediction.
"""

from __future__ import annotations

import sys

import numpy as np
from matplotlib.figure import Figure

from af_kit.facility.predict import Costs, heartbeats, predict

# CPU seconds per million events of the kit on ZSTD files, on the machine of the costs: benchmarks/README.md, and
# `af-kit bench facility` for the Ds selection.
WORKLOADS = {"Ds selection": 5.35, "H → μμ selection": 1.24, "dimuon": 0.333}
EVENTS = 20_000_000_000
WORKERS = np.unique(np.geomspace(10, 5000, 24).astype(int))
DEFAULTS = Costs(function_s=1)


def main() -> None:
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, per_million in WORKLOADS.items():
        costs = Costs(function_s=per_million / 1e6)
        found = predict(costs, events=EVENTS, workers=[int(number) for number in WORKERS])
        (line,) = left.plot(WORKERS, [one.events_per_s / 1e6 for one in found], label=name)
        left.plot(WORKERS, WORKERS / per_million, ":", color=line.get_color(), linewidth=1)
    left.set(xscale="log", yscale="log", xlabel="workers (one thread each)", ylabel="million events per second")
    left.set(xlim=(10, 5000), ylim=(1, 3000), title="Predicted, tasks of 500 000 events (dotted: no other limit)")
    left.legend(loc="lower right")
    left.grid(alpha=0.3)
    duration = np.geomspace(0.5, 60, 100)
    for number in (100, 1000, 5000):
        load = heartbeats(number) * DEFAULTS.heartbeat_s + DEFAULTS.scheduler_s * number / duration
        right.plot(duration, load, label=f"{number} workers")
    right.axhline(1, color="0.5", linestyle="--", linewidth=1)
    right.set(xscale="log", yscale="log", xlabel="duration of a task [s]", ylabel="scheduler: CPU cores in use")
    right.set(xlim=(0.5, 60), ylim=(0.005, 3), title="Load of the scheduler (dashed: one core, its most)")
    right.legend(loc="lower left")
    right.grid(alpha=0.3)
    figure.savefig(sys.argv[1], dpi=110)


if __name__ == "__main__":
    main()
