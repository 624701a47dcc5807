"""Normalise simulation: cross-section times luminosity over the sum of generator weights of the whole dataset.

The sum is taken from the tree ``Runs`` of all files, which counts every generated event, also those that a skim
dropped. A file that cannot be read is an error: a sum over a part of the files would scale the dataset too high.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from af_kit.data.fileset.load import Dataset, File
from af_kit.data.transport.servers import reachable_first
from af_kit.errors import AfKitError, InputError, ReadError

__all__ = ["SumOfWeights", "luminosity_weight", "sum_of_weights"]

_TREE = "Runs"
# the second name is that of NanoAOD before version 6
_BRANCHES = ("genEventSumw", "genEventSumw_")
_FB_PER_PB = 1000.0
# Attempts at a file, and the seconds before each: a server that is only restarting is back by then.
_PAUSES_S = (0.0, 1.0, 4.0)


@dataclass(frozen=True)
class SumOfWeights:
    """The generator weights of files.

    Attributes
    ----------
    sumw : float
        Sum of the weights of all generated events.
    files : tuple of str
        The files they come from (the first replica of each).
    """

    sumw: float
    files: tuple[str, ...]

    def check_files(self, processed: Iterable[str]) -> None:
        """Raise unless these are exactly the files whose events were processed.

        Raises
        ------
        InputError
            A file is only in one of the two lists: its events or its weights would be missing from the ratio.
        """
        others = set(processed)
        missing, extra = sorted(set(self.files) - others), sorted(others - set(self.files))
        if missing or extra:
            raise InputError(
                f"The sum of weights is of {len(self.files)} files, and {len(others)} were processed "
                f"(only in one of the two: {', '.join((missing + extra)[:3])}). Process the others, or take the sum of "
                "the processed files."
            )


def luminosity_weight(*, xsec_pb: float, lumi_ifb: float, sumw: float) -> float:
    """Return the expected events per unit of generator weight: ``xsec_pb * 1000 * lumi_ifb / sumw``.

    Parameters
    ----------
    xsec_pb : float
        Cross-section in pb, with branching ratio and filter efficiency.
    lumi_ifb : float
        Integrated luminosity in 1/fb.
    sumw : float
        Sum of the generator weights of all files of the dataset.

    Raises
    ------
    InputError
        One of them is not a positive number.
    """
    for name, value in (("xsec_pb", xsec_pb), ("lumi_ifb", lumi_ifb), ("sumw", sumw)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} must be a positive number, not {value!r}.")
    return xsec_pb * _FB_PER_PB * lumi_ifb / sumw


def sum_of_weights(dataset: Dataset | Sequence[str | Path], *, threads: int = 8) -> SumOfWeights:
    """Return the sum of generator weights of all files of a simulated dataset.

    Parameters
    ----------
    dataset : Dataset or list of paths
        A dataset of a fileset, or local paths and URLs. Each file's replicas are tried in order, and again after a
        pause if the error may be transient.
    threads : int
        Files that are read at a time.

    Raises
    ------
    ReadError
        A file cannot be read.
    InputError
        There are no files; a file has no tree ``Runs`` or no sum in it (it is data, or the tree was lost in a skim); or
        a sum is NaN or infinite.
    """
    given = dataset.files if isinstance(dataset, Dataset) else dataset
    files = [file if isinstance(file, File) else File(replicas=(str(file),)) for file in given]
    if not files:
        raise InputError("There are no files to take the sum of weights of.")
    with ThreadPoolExecutor(max_workers=threads) as pool:
        sums = list(pool.map(_of_file, files))
    return SumOfWeights(math.fsum(sums), tuple(file.path for file in files))


def _of_file(file: File) -> float:
    error: AfKitError | None = None
    for pause in _PAUSES_S:
        time.sleep(pause)
        for path in reachable_first(file.replicas):
            try:
                return _read(path)
            except ReadError as found:
                error = found
        if not getattr(error, "transient", False):
            break
    assert error is not None
    raise error


def _read(path: str) -> float:
    from af_kit.data.reading.open_file import open_file
    from af_kit.data.transport.io_errors import as_read_error

    with open_file(path) as file:
        if _TREE not in file:
            raise InputError(
                f"{path} has no tree {_TREE!r}, which holds the sum of generator weights. Take a file that has it: the "
                "original of a skim, or a skim that keeps it."
            )
        try:
            tree = file[_TREE]
            known = set(tree.keys())
            name = next((branch for branch in _BRANCHES if branch in known), None)
            values: Any = None if name is None else tree[name].array(library="np")
        except Exception as error:
            raise as_read_error(path, error) from error
    if name is None:
        raise InputError(f"The tree {_TREE!r} of {path} has no {_BRANCHES[0]}: is this a file of data?")
    total = math.fsum(np.asarray(values, dtype=np.float64))
    if not math.isfinite(total):
        raise InputError(f"{name} in {path} is {total}: an event of this file has a weight that is no number.")
    return total
