"""The trees Runs and LuminosityBlocks: what was generated or recorded, whatever is selected later."""

from __future__ import annotations

from typing import Any

import numpy as np

from af_kit.simulate.writer import Block


class Bookkeeping:
    """Count events and sum weights while a file is written.

    Parameters
    ----------
    is_data : bool
        Data have no weights.
    suffix : str
        After the names of the sums: ``"_"`` in older files.
    """

    def __init__(self, *, is_data: bool, suffix: str = "") -> None:
        self._is_data = is_data
        self._suffix = suffix
        self._blocks: set[tuple[int, int]] = set()
        self._count = 0
        self._sums = np.zeros(2)

    def add(self, block: Block) -> None:
        """Add events, with the weights as stored."""
        runs, lumis = block.columns["run"], block.columns["luminosityBlock"]
        pairs = np.unique(np.stack([runs, lumis]), axis=1)
        self._blocks.update(zip(*pairs.tolist(), strict=True))
        self._count += block.entries
        if not self._is_data:
            weight = block.columns["genWeight"].astype(np.float64)
            self._sums += (weight.sum(), (weight**2).sum())

    def write(self, file: Any, kind: str) -> None:
        """Write both trees to an uproot file; ``kind`` is "ttree" or "rntuple"."""
        pairs = np.array(sorted(self._blocks), np.uint32).reshape(-1, 2)
        lumis = {"run": pairs[:, 0], "luminosityBlock": pairs[:, 1]}
        runs: dict[str, Any] = {"run": np.unique(pairs[:, 0])}
        if not self._is_data:
            runs["run"] = np.ones(1, np.uint32)  # also of a file without events
            runs[f"genEventCount{self._suffix}"] = np.array([self._count], np.int64)
            runs[f"genEventSumw{self._suffix}"] = self._sums[:1]
            runs[f"genEventSumw2{self._suffix}"] = self._sums[1:]
        for name, columns in (("LuminosityBlocks", lumis), ("Runs", runs)):
            make = file.mktree if kind == "ttree" else file.mkrntuple
            make(name, {column: values.dtype for column, values in columns.items()}).extend(columns)
