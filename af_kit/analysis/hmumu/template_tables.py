"""The points of the figures of the template fit, as a HEPData submission."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from af_kit.analysis.hepdata import Column, Table, bins, write_hepdata

if TYPE_CHECKING:
    from af_kit.analysis.hmumu.template_fit import HMuMuFit

__all__ = ["write_points"]


def write_points(result: HMuMuFit, folder: str | Path) -> list[Path]:
    """Write the templates after the fit, the results, the limit and the impacts.

    Events are those of a bin, not divided by its width. Expected data (blind) are called so.
    """
    metadata = result.templates.metadata
    qualifiers: dict[str, Any] = {}
    if "sqrt_s_TeV" in metadata:
        qualifiers["SQRT(S) [GEV]"] = 1000 * metadata["sqrt_s_TeV"]
    if "lumi_ifb" in metadata:
        qualifiers["LUMINOSITY [fb^-1]"] = metadata["lumi_ifb"]
    energies = {"cmenergies": [qualifiers["SQRT(S) [GEV]"]]} if "SQRT(S) [GEV]" in qualifiers else {}
    return write_hepdata(
        [*_channels(result, qualifiers), _results(result, qualifiers), _limit(result, qualifiers), _impacts(result)],
        folder,
        comment="H -> mu mu: template fit, signal strength, upper limit, impacts.",
        keywords={"reactions": ["P P --> HIGGS X", "HIGGS --> MU+ MU-"], **energies},
    )


def _channels(result: HMuMuFit, qualifiers: dict[str, Any]) -> Iterator[Table]:
    fitted, errors = result.fit.by_process(), result.fit.uncertainty()
    for channel in result.fit.likelihood.model.channels:
        title = result.templates.titles.get(channel.name, channel.name)
        contents = fitted[channel.name]
        data = result.fit.data.main[result.fit.likelihood.slices[channel.name]]
        variable, _, units = channel.variable.partition(" [")
        own = {**qualifiers, "CHANNEL": title}
        names = [process.name for process in channel.processes]
        yield Table(
            f"Templates {channel.name}",
            f"Events in {title}, after the fit.",
            [Column(variable, bins(channel.edges), units=units.removesuffix("]"))],
            [
                Column("Events (expected data)" if result.blind else "Events (data)", data, qualifiers=own),
                Column(
                    "Events (fit)",
                    sum((contents[name] for name in names), np.zeros(len(data))),
                    errors={"total": errors[channel.name]},
                    qualifiers=own,
                ),
                *(Column(f"Events ({name})", contents[name], qualifiers=own) for name in names),
            ],
        )


def _results(result: HMuMuFit, qualifiers: dict[str, Any]) -> Table:
    strength, found = result.fit.strength, result.significance
    nothing = (np.nan, np.nan)
    rows: list[tuple[str, float, tuple[float, float]]] = [
        ("signal strength", strength.value, (strength.lower or np.nan, strength.upper or np.nan)),
        ("significance", found.observed, nothing),
        ("expected significance", found.expected, nothing),
    ]
    return Table(
        "Results",
        "Signal strength with its total uncertainty, and significance of the signal"
        + (" (expected data of strength 1)." if result.blind else "."),
        [Column("Quantity", [name for name, _, _ in rows])],
        [
            Column(
                "Value",
                [value for _, value, _ in rows],
                errors={"total": [error for _, _, error in rows]},
                qualifiers=qualifiers,
            )
        ],
    )


def _limit(result: HMuMuFit, qualifiers: dict[str, Any]) -> Table:
    limit = result.limit
    names = ["-2 sigma", "-1 sigma", "median", "+1 sigma", "+2 sigma"]
    return Table(
        "Limit",
        f"Upper limits on the signal strength at {100 * limit.level:g} % confidence level, by CLs.",
        [Column("Limit", ["expected data" if result.blind else "observed", *(f"expected {name}" for name in names)])],
        [Column("Upper limit on the strength", [limit.observed, *limit.expected], qualifiers=qualifiers)],
    )


def _impacts(result: HMuMuFit) -> Table:
    found = result.impacts
    return Table(
        "Impacts",
        "Shifts of the signal strength when a parameter moves by its uncertainty after the fit.",
        [Column("Parameter", [str(name) for name in found.index])],
        [
            Column("Shift of the strength, up", found["post_up"].to_numpy()),
            Column("Shift of the strength, down", found["post_down"].to_numpy()),
        ],
    )
