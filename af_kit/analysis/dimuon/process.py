"""Run the whole analysis over a fileset in one call."""

from __future__ import annotations

from typing import Any, Literal

from af_kit.analysis.dimuon.analyse import analyse
from af_kit.analysis.dimuon.kernel import analyse_numba
from af_kit.errors import InputError, nearest
from af_kit.run.process import process as run
from af_kit.run.result import Result

ENGINES = {"awkward": analyse, "numba": analyse_numba}


def process(
    fileset: Any, client: Any = None, *, engine: Literal["awkward", "numba"] = "awkward", **options: Any
) -> Result:
    """Run the dimuon analysis over all chunks of a fileset.

    Parameters
    ----------
    fileset, client, **options
        As in :func:`af_kit.process`.
    engine : {"awkward", "numba"}
        Array expressions, or the compiled loop; the results are the same.

    Returns
    -------
    Result
        A mapping with ``multiplicity``, ``mass`` and ``candidates`` (see :func:`analyse`), and the ``report``.
    """
    if engine not in ENGINES:
        raise InputError(f"The dimuon analysis has no engine {engine!r}.{nearest(engine, ENGINES)}")
    return run(ENGINES[engine], fileset, client, **options)
