"""Run the whole analysis over a fileset in one call."""

from __future__ import annotations

import functools
from typing import Any, Literal

from af_kit.analysis.counting.analyse import analyse
from af_kit.analysis.counting.objects import BTAG
from af_kit.analysis.counting.select import check_btag
from af_kit.errors import InputError
from af_kit.run.process import process as run
from af_kit.run.result import Result

ENGINES = {"awkward": analyse}


def process(
    fileset: Any, client: Any = None, *, engine: Literal["awkward"] = "awkward", btag: float = BTAG, **options: Any
) -> Result:
    """Count leptons, jets and events over all chunks of a fileset.

    Parameters
    ----------
    fileset, client, **options
        As in :func:`af_kit.process`.
    engine : {"awkward"}
        Array expressions; this analysis has no compiled engine.
    btag
        b-tagging working point, as in :func:`~af_kit.analysis.counting.select.select`.

    Returns
    -------
    Result
        A mapping as from :func:`analyse`, with ``counts`` of each dataset, and the ``report``.

    Raises
    ------
    InputError
        The engine is unknown, or ``btag`` is not between 0 and 1; otherwise as :func:`af_kit.process`.
    """
    if engine not in ENGINES:
        raise InputError(f"The counting analysis has no engine {engine!r}: use 'awkward', its only one.")
    return run(functools.partial(ENGINES[engine], btag=check_btag(btag)), fileset, client, **options)
