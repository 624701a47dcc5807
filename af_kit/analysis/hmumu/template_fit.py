"""Fit the templates of H -> mu mu: strength, significance, limit, impacts; and write everything into a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from af_kit.analysis import output, style
from af_kit.analysis import templates as room
from af_kit.analysis.hmumu.templates import Templates
from af_kit.display.progress import Progress
from af_kit.display.tables import fold, items, lines, panel, table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["HMuMuFit", "fit_templates", "write_model"]

_IMPACTS = 30


@dataclass(frozen=True, eq=False, repr=False)
class HMuMuFit:
    """The valid fit of the templates, and the tests of the signal strength.

    Attributes
    ----------
    templates
        The model, and how it was made.
    fit
        The fit of the model to the data or, blind, to the data that the model expects.
    blind
        Whether it is the latter.
    significance, limit
        Of the signal; the upper limit on its strength.
    impacts
        The effect of each parameter (:func:`~af_kit.analysis.templates.impacts.impacts`).
    parts
        The parts of the strength's uncertainty.
    """

    templates: Templates
    fit: room.TemplateFit
    blind: bool
    significance: room.Significance
    limit: room.Limit
    impacts: pd.DataFrame
    parts: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for ``fit.json``."""
        strength = self.fit.strength
        return {
            "valid": True,
            "data": "expected (Asimov)" if self.blind else "observed",
            "strength": strength._asdict(),
            "uncertainty": dict(self.parts),
            "significance": self.significance._asdict(),
            "limit": self.limit.to_dict(),
            **{name: value for name, value in self.fit.to_dict().items() if name != "valid"},
            "impacts": {
                str(name): {key: None if value != value else float(value) for key, value in row.items()}
                for name, row in self.impacts.iterrows()
            },
            "yields": _yields(self.fit),
            **about(self.templates),
        }

    def summary(self) -> str:
        """Return the results in a few lines."""
        limit = self.limit
        bands = f"-1 sigma {limit.expected[1]:.3g}, +1 sigma {limit.expected[3]:.3g}"
        kind = self._data() if self.blind else "data"
        return "\n".join(
            [
                f"templates, {kind}: strength {self.fit.strength}",
                f"  significance {self.significance.observed:.2f} (expected {self.significance.expected:.2f})",
                f"  upper limit at {100 * limit.level:g} % CL: {limit.observed:.3g} (expected without signal "
                f"{limit.expected[2]:.3g}; {bands})",
                f"  goodness of fit: p = {self.fit.goodness.p_value:.2g}" if not self.blind else "",
            ]
        ).rstrip()

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        return f"<HMuMuFit: strength {self.fit.strength}, {self._data()}>"

    def _data(self) -> str:
        return "Asimov data of strength 1" if self.blind else "observed data"

    def _repr_html_(self) -> str:
        found, limit = self.significance, self.limit
        results = items(
            [
                ("strength", str(self.fit.strength)),
                ("uncertainty", ", ".join(f"{name} {value:.3g}" for name, value in self.parts.items())),
                ("significance", f"{found.observed:.2f} (expected {found.expected:.2f})"),
                (
                    f"upper limit, {100 * limit.level:g} % CL",
                    f"{limit.observed:.3g} (expected without signal {limit.expected[2]:.3g}, 68 % band "
                    f"{limit.expected[1]:.3g} to {limit.expected[3]:.3g})",
                ),
                ("goodness of fit", f"p = {self.fit.goodness.p_value:.2g}"),
            ]
        )
        largest = self.impacts[["post_up", "post_down"]].map("{:+.3f}".format) if len(self.impacts) else self.impacts
        rows = [(str(name), *row) for name, row in zip(largest.index, largest.values, strict=True)]
        return panel(
            f"H -> mu mu, template fit of {self._data()}",
            results,
            fold(
                "impacts on the strength",
                table(rows, head=("parameter", "+1 sigma", "-1 sigma"), numbers=(1, 2), most=10),
                is_open=True,
            ),
            fold("parameters", self.fit.parameter_table()),
            *([fold("notes", lines(self.templates.notes))] if self.templates.notes else []),
        )

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """Yield the figures with their names."""
        metadata: Mapping[str, Any] = {"isMC": True} if self.blind else {}
        metadata, titles = {**self.templates.metadata, **metadata}, self.templates.titles
        label = "Asimov data" if self.blind else "data"
        for channel in self.fit.likelihood.model.channels:
            for before, when in ((True, "prefit"), (False, "postfit")):
                figure = room.draw_channel(
                    self.fit,
                    channel.name,
                    before=before,
                    metadata=metadata,
                    data_label=label,
                    title=titles.get(channel.name, channel.name),
                )
                yield f"{channel.name}_{when}", figure
        yield "impacts", room.draw_impacts(self.fit, self.impacts, number=_IMPACTS, metadata=metadata)
        yield "pulls", room.draw_pulls(self.fit, metadata=metadata)
        yield "correlation", room.draw_correlation(self.fit, metadata=metadata)
        yield "limit", room.draw_limit(self.limit, metadata=metadata, data_label=label if self.blind else "observed")

    def plot(self, folder: str | Path) -> list[Path]:
        """Draw everything into a folder, as PNG and PDF."""
        return style.save_all(self.figures(), folder)


def fit_templates(templates: Templates, *, blind: bool = True, progress: bool | None = None) -> HMuMuFit:
    """Fit the templates, and test the signal.

    Parameters
    ----------
    blind
        Fit the data that the nominal model expects (Asimov data of strength 1) instead of the observed ones.
    progress
        Show a progress bar; None: on a terminal and in a notebook.

    Raises
    ------
    FitError
        A fit is not valid.
    InputError
        The data are asked for, and there are none.
    """
    compiled = room.likelihood(templates.model)
    data = compiled.asimov() if blind else compiled.data_of(templates.model)
    with Progress(3, progress, what="fit", unit="steps", brief=True) as bar:
        result = room.fit(compiled, data)
        bar.update()
        significance = room.significance(result)
        bar.update()
        limit = room.upper_limit(result)
        bar.update()
    impacts = room.impacts(result, progress=progress)
    return HMuMuFit(templates, result, blind, significance, limit, impacts, room.breakdown(result, templates.groups))


def write_model(templates: Templates, folder: str | Path) -> list[Path]:
    """Write ``workspace.json`` (pyhf) and ``datacards/`` (Combine) of a model; without data, those expected."""
    folder = Path(folder)
    return [
        output.write_json(templates.model.workspace(), folder / "workspace.json"),
        *room.write_datacard(templates.model, folder / "datacards" / "hmumu.txt"),
    ]


def about(templates: Templates) -> dict[str, Any]:
    """Return how a model was made, as plain values."""
    return {
        "poi": templates.model.poi,
        "lumi_ifb": templates.metadata.get("lumi_ifb"),
        "channels": {
            channel.name: {
                "edges": [float(edge) for edge in channel.edges],
                "variable": channel.variable,
                "processes": [process.name for process in channel.processes],
            }
            for channel in templates.model.channels
        },
        "groups": {name: list(members) for name, members in templates.groups.items()},
        "notes": list(templates.notes),
        "changes": [change._asdict() for change in templates.changes],
    }


def _yields(result: room.TemplateFit) -> dict[str, Any]:
    nominal = result.likelihood.by_process(result.likelihood.start)
    fitted = result.by_process()
    return {
        channel: {
            "observed": float(result.data.main[bins].sum()),
            **{
                name: {"before": float(nominal[name][bins].sum()), "after": float(values.sum())}
                for name, values in fitted[channel].items()
                if nominal[name][bins].any()
            },
        }
        for channel, bins in result.likelihood.slices.items()
    }
