"""Starts the faults of a case when the calls of its function reach their gates, and undoes them."""

from __future__ import annotations

import random
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from faults import KINDS, Stage
from machine import Finding

# Until everything is undone: a server takes seconds to start, and a worker of a busy machine longer.
_UNDO_S = 150.0


class Triggers:
    """Starts each fault of a case when its call has reached the gate, and undoes it."""

    def __init__(self, stage: Stage, faults: Sequence[Mapping[str, Any]], seed: int) -> None:
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
            thread.join(_UNDO_S)
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
