"""What ``process`` calls on each chunk of events."""

from __future__ import annotations

from typing import Any

import awkward as ak

from af_kit.analysis.dimuon.fill import fill
from af_kit.analysis.dimuon.select import select
from af_kit.analysis.dimuon.table import table


def analyse(events: ak.Array) -> dict[str, Any]:
    """The dimuon analysis of one chunk.

    Parameters
    ----------
    events
        Events with a jagged collection ``Muon`` (``pt``, ``eta``, ``phi``, ``mass``, ``charge``), as from ``read``.

    Returns
    -------
    dict
        ``multiplicity`` (:class:`hist.Hist`): muons per event, all events.
        ``mass`` (:class:`hist.Hist`): invariant mass in GeV of the events with exactly two muons of opposite charge.
        ``candidates`` (:class:`pyarrow.Table`): those events, one row each; columns as in
        :func:`~af_kit.analysis.dimuon.table.table`.
    """
    candidates = select(events)
    return {**fill(events, candidates), "candidates": table(events, candidates)}


def histograms(events: ak.Array) -> dict[str, Any]:
    """``multiplicity`` and ``mass`` as from :func:`analyse`, without the table: half the time, and little memory."""
    return fill(events, select(events))
