"""From the histograms of one or several years to the model of the template fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.analysis.hmumu.campaign import load_campaign
from af_kit.analysis.hmumu.histograms import matched
from af_kit.analysis.hmumu.read import read
from af_kit.analysis.hmumu.regions import CHANNELS, REGIONS
from af_kit.analysis.hmumu.uncertainties import TemplateProcess, Uncertainties, load_uncertainties
from af_kit.analysis.hmumu.variations import DIRECTIONS, NOMINAL, label_of
from af_kit.analysis.templates import Change, Channel, FreeNorm, Norm, Process, Shape, TemplateModel, merged, prepare
from af_kit.display.tables import fold, items, lines, panel, table
from af_kit.errors import InputError, nearest

__all__ = ["Templates", "build_templates"]

Floats = NDArray[np.float64]

POI = "mu"
VARIABLES = ("dnn_score", "dimuon_mass")
"""The variables to fit, the best first."""

# Bins of the dimuon mass in each region: multiples of the bins of the histograms. The bin across the signal region
# holds its two neighbours only.
_MASS_BINS = {"signal": (*range(115, 135), 135.5), "sidebands": (110, 112, 114, 136, 138, 140, 142, 144, 146, 148, 150)}
_REGION_TITLES = {"signal": "signal region", "sidebands": "sidebands"}


@dataclass(frozen=True, eq=False, repr=False)
class Templates:
    """A model of H -> mu mu, and how it was made.

    Attributes
    ----------
    model
        The model; with data, unless there are none.
    changes
        What `prepare` changed.
    notes
        What else a reader must know: processes without events, sources without an effect.
    groups
        Group to parameters, for the parts of the uncertainty.
    titles
        Channel to title of its figures.
    metadata
        For the labels of figures.
    """

    model: TemplateModel
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    titles: Mapping[str, str]
    metadata: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"<Templates: channels {', '.join(channel.name for channel in self.model.channels)}>"

    def _repr_html_(self) -> str:
        rows = (
            (channel.name, channel.variable, str(len(channel.edges) - 1), ", ".join(p.name for p in channel.processes))
            for channel in self.model.channels
        )
        return panel(
            "Templates",
            table(rows, head=("channel", "variable", "bins", "processes"), numbers=(2,)),
            fold("groups of uncertainties", items((name, ", ".join(own)) for name, own in self.groups.items())),
            *([fold("notes", lines(self.notes))] if self.notes else []),
        )


def build_templates(
    results: Mapping[str, Any] | str | Path | Sequence[Any],
    *,
    variable: str | None = None,
    channel: str = "vbf",
    regions: Sequence[str] = ("signal", "sidebands"),
    uncertainties: str | Path | Uncertainties | None = None,
    strength: tuple[float, float] | None = None,
    lumi_ifb: float | None = None,
    smooth: bool = False,
    split: bool = True,
    **options: Any,
) -> Templates:
    """Return the model of the signal in the histograms of one year or several.

    Signal region and sidebands are fitted together. Each year has templates of its own; `load_uncertainties` says which
    processes, and which parameters years and processes share.

    Parameters
    ----------
    results
        A result of :func:`process`, a folder of one (`read`), or one for each year.
    variable
        The histogram to fit; None: ``dnn_score`` if all results have it, otherwise ``dimuon_mass``.
    channel
        One of `CHANNELS`.
    uncertainties
        A file like ``statistics.yaml``, or `load_uncertainties` of one.
    strength
        Limits of the signal strength, which may be negative; None: far beyond its expected uncertainty, and at least
        from -20 to 20.
    lumi_ifb
        Scale the expectation to this luminosity [1/fb] of all years together, without data: a projection. None: the
        luminosity of the data.
    smooth
        Whether to smooth the variations of the jets' energies and the muons' momentum.
    split
        Whether Drell-Yan is two processes, by the generator jets of its two leading jets. With few simulated events the
        fit cannot tell them apart.
    **options
        Of :func:`~af_kit.analysis.templates.prepare`.

    Raises
    ------
    InputError
        Two results are of the same year; a histogram, its variations, or the numbers of a year are missing; there is
        no signal; or the templates cannot be used.
    """
    several = [results] if isinstance(results, Mapping | str | Path) else results
    listed: list[Mapping[str, Any]] = [one if isinstance(one, Mapping) else read(one) for one in several]
    if channel not in CHANNELS:
        raise InputError(f"{channel!r} is not a channel.{nearest(channel, CHANNELS)}")
    for region in regions:
        if region not in REGIONS:
            raise InputError(f"{region!r} is not a region.{nearest(region, REGIONS)}")
    known = uncertainties if isinstance(uncertainties, Uncertainties) else load_uncertainties(uncertainties)
    years = [load_campaign(result["campaign"]).year for result in listed]
    if len(set(years)) < len(years):
        raise InputError(
            f"Two results are of the same year: {', '.join(map(str, years))}. Their events would count twice."
        )
    chosen = _variable(listed, variable)
    lumi = sum(_lumi_ifb(result) for result in listed)
    factor = 1.0 if lumi_ifb is None else lumi_ifb / lumi
    free: dict[str, FreeNorm] = {}
    channels: list[Channel] = []
    notes: list[str] = []
    titles = {}
    for result, year in zip(listed, years, strict=True):
        processes = _processes(result, known, chosen, notes, split=split)
        maker = _Year(result, year, known, chosen, channel, tuple(regions), factor, with_data=lumi_ifb is None)
        for region, one in maker.channels(processes).items():
            channels.append(one)
            titles[one.name] = f"{channel}, {_REGION_TITLES.get(region, region)}" + (
                f", {year}" if len(years) > 1 else ""
            )
        free |= {
            f"rate_{name}_{year}": FreeNorm(1.0, *process.free) for name, process in processes.items() if process.free
        }
    sources = {name for one in channels for process in one.processes for name in process.shapes}
    if not sources:
        notes.append("The histograms have no variations: run with --variations all for systematic uncertainties.")
    smoothed = [name for name in sorted(sources) if smooth and name.startswith(known.sources.of_objects)]
    done, changes = prepare(channels, smooth=smoothed, **options)
    free = {POI: FreeNorm(1.0, *(strength or _strength_limits(done))), **free}
    used = {name for one in done for process in one.processes for name in process.free}
    if POI not in used:
        raise InputError(f"There is no signal in channel {channel!r}: the results need datasets of ggh or vbf.")
    model = TemplateModel(done, {name: norm for name, norm in free.items() if name in used}, POI)
    metadata = {**_common([result.get("metadata") or {} for result in listed])}
    metadata["lumi_ifb"] = float(f"{lumi * factor:.4g}")
    if any(result.get("lacking") for result in listed):
        metadata["for_publication"] = False
    return Templates(model, tuple(changes), tuple(notes), _groups(model), titles, metadata)


def _strength_limits(channels: Iterable[Channel]) -> tuple[float, float]:
    """Return limits of the strength that no fit should reach: 20 expected uncertainties below zero, 100 above."""
    information = 0.0
    for channel in channels:
        signal = sum(process.values for process in channel.processes if POI in process.free)
        others = [process for process in channel.processes if POI not in process.free]
        variance = sum(process.values + process.variances for process in others)
        information += float(np.sum(np.where(variance > 0, signal**2 / np.where(variance > 0, variance, 1.0), 0.0)))
    error = float(1 / np.sqrt(information)) if information > 0 else 1.0
    return -max(20.0, 20 * error), max(20.0, 100 * error)


def _variable(results: Sequence[Mapping[str, Any]], wanted: str | None) -> str:
    names = set.intersection(*(set(own) for result in results for own in result["histograms"].values()))
    for name in VARIABLES if wanted is None else (wanted,):
        if name in names:
            return name
    raise InputError(
        f"There is no histogram {wanted or VARIABLES[-1]!r} in every dataset.{nearest(str(wanted), names)}"
    )


def _lumi_ifb(result: Mapping[str, Any]) -> float:
    """Return the luminosity that the simulation is scaled to."""
    default = load_campaign(result["campaign"]).lumi_ipb
    values = {sample["lumi_ipb"] or default for sample in result["samples"].values() if sample["is_mc"]}
    if len(values) != 1:
        listed = ", ".join(f"{value / 1000:g}" for value in sorted(values)) or "none"
        raise InputError(f"The simulated datasets of {result['campaign']} have no common luminosity [1/fb]: {listed}.")
    return float(values.pop()) / 1000


def _processes(
    result: Mapping[str, Any], known: Uncertainties, variable: str, notes: list[str], *, split: bool
) -> dict[str, TemplateProcess]:
    """Return the processes of which the result has datasets, unsplit if the histograms are, or unless ``split``."""
    found: dict[str, TemplateProcess] = {}
    available = {sample["process"] for sample in result["samples"].values()}
    for name, process in known.processes.items():
        datasets = _datasets(result, process)
        filled = all(matched(variable) in result["histograms"][one] for one in datasets)
        if process.jets and datasets and not (split and filled):
            whole = {other: one for other, one in known.unsplit.items() if set(one.of) & set(process.of)}
            if not whole:
                raise InputError(f"{name} needs the histogram {matched(variable)!r}, and `unsplit` has no replacement.")
            if not set(whole) & set(found):
                why = "" if filled else f", because {variable} was not filled for events with two generator jets"
                notes.append(f"{result['campaign']}: {', '.join(process.of)} is one process{why}.")
            found |= whole
        elif datasets:
            found[name] = process
    unused = available - {"data"} - {one for process in found.values() for one in process.of}
    if unused:
        raise InputError(
            f"{result['campaign']}: datasets of {', '.join(sorted(unused))} belong to no template, and their events "
            "would be missing. Set `process` in the fileset, or add a template to a copy of statistics.yaml."
        )
    absent = [name for name in known.processes if not _datasets(result, known.processes[name])]
    if absent:
        notes.append(f"{result['campaign']}: there are no datasets for {', '.join(absent)}.")
    return found


def _datasets(result: Mapping[str, Any], process: TemplateProcess) -> list[str]:
    return [name for name, sample in result["samples"].items() if sample["process"] in process.of]


@dataclass(frozen=True, eq=False)
class _Year:
    """Makes the channels of one year."""

    result: Mapping[str, Any]
    year: int
    known: Uncertainties
    variable: str
    channel: str
    regions: tuple[str, ...]
    factor: float
    with_data: bool

    def channels(self, processes: Mapping[str, TemplateProcess]) -> dict[str, Channel]:
        """Return one channel for each region."""
        made = {name: self._process(name, process) for name, process in processes.items()}
        data = [name for name, sample in self.result["samples"].items() if not sample["is_mc"]]
        found = {}
        for number, region in enumerate(self.regions):
            observed = self._content(data, NOMINAL, region)[0] if data and self.with_data else None
            own = tuple(parts[number] for parts in made.values())
            axis = self._axis()
            name = f"{self.channel}_{region}_{self.year}"
            whole = Channel(name, np.asarray(axis.edges, float), own, observed, axis.label)
            bins = _MASS_BINS.get(region) if self.variable == "dimuon_mass" else None
            found[region] = merged(whole, bins) if bins else whole
        return found

    def _axis(self) -> Any:
        first = next(iter(self.result["histograms"].values()))
        return first[self.variable].axes[3]

    def _content(self, datasets: Iterable[str], label: str, region: str, jets: str | None = None) -> tuple[Any, Any]:
        """Return values and variances of the sum of datasets. Events beyond the axis count in its first or last bin,
        except for the mass, whose regions end within it."""
        total = np.zeros((2, len(self._axis().edges) + 1))
        for dataset in datasets:
            for name, sign in self._parts(jets):
                histogram = self.result["histograms"][dataset][name]
                labels = list(histogram.axes["variation"])
                where = (REGIONS.index(region), CHANNELS.index(self.channel))
                view = histogram.view(flow=True)[(*where, labels.index(label if label in labels else NOMINAL))]
                total += sign * np.array([view["value"], view["variance"]])
        if self.variable != "dimuon_mass":
            total[:, 1] += total[:, 0]
            total[:, -2] += total[:, -1]
        return total[0, 1:-1], total[1, 1:-1]

    def _parts(self, jets: str | None) -> list[tuple[str, int]]:
        """Return the histograms to add or to subtract. The events of one are among those of the other, so variances
        subtract, too."""
        every, both = self.variable, matched(self.variable)
        return {None: [(every, 1)], "matched": [(both, 1)], "unmatched": [(every, 1), (both, -1)]}[jets]

    def _process(self, name: str, process: TemplateProcess) -> list[Process]:
        """Return the process in each region."""
        datasets = _datasets(self.result, process)
        nominal = [self._content(datasets, NOMINAL, region, process.jets) for region in self.regions]
        shapes: list[dict[str, Shape]] = [{} for _ in self.regions]
        whole = sum(values.sum() for values, _ in nominal)
        labels = {
            label
            for dataset in datasets
            for label in self.result["histograms"][dataset][self.variable].axes["variation"]
        }
        for source in self.result["sources"]:
            pair = [label_of(source, direction) for direction in DIRECTIONS]
            if not labels.issuperset(pair):
                continue
            varied = [
                [self._content(datasets, label, region, process.jets)[0] for region in self.regions] for label in pair
            ]
            if source.startswith(self.known.sources.shape_only):
                totals = [sum(values.sum() for values in one) for one in varied]
                varied = [
                    [values * (whole / total if total > 0 else 1.0) for values in one]
                    for one, total in zip(varied, totals, strict=True)
                ]
            for number in range(len(self.regions)):
                up, down = (self.factor * one[number] for one in varied)
                shapes[number][self._parameter(source, name)] = Shape(up, down)
        free = (POI,) if process.signal else (f"rate_{name}_{self.year}",) if process.free else ()
        norms = self._norms(name, process)
        return [
            Process(name, self.factor * values, self.factor**2 * variances, own, norms, free)
            for (values, variances), own in zip(nominal, shapes, strict=True)
        ]

    def _norms(self, name: str, process: TemplateProcess) -> dict[str, Norm]:
        norms = {}
        kappa = self.known.factor(name, self.year)
        if kappa is not None:
            norms[f"norm_{name}_{self.year}"] = Norm.of(kappa)
        if not process.free:  # a free yield contains the luminosity
            independent = next(iter(self.known.luminosity), None)
            for component, value in self.known.luminosities(self.year).items():
                norms[f"lumi_{component}" + (f"_{self.year}" if component == independent else "")] = Norm.of(value)
        return norms

    def _parameter(self, source: str, process: str) -> str:
        sources = self.known.sources
        by_process = f"_{process}" if source.startswith(sources.by_process) else ""
        by_year = "" if source.startswith(sources.all_years) else f"_{self.year}"
        return f"{source}{by_process}{by_year}"


_GROUPS = {
    "jet energy": ("jes_", "jer"),
    "b tag": ("btag_",),
    "theory": ("lhe_", "pdf", "alpha_s", "THU_", "nnlops"),
    "muons": ("muon_",),
    "cross-sections": ("norm_",),
    "luminosity": ("lumi_",),
    "Drell-Yan rate": ("rate_",),
}


def _groups(model: TemplateModel) -> dict[str, tuple[str, ...]]:
    names = [*model.sources, *(name for name in model.free if name != model.poi)]
    found = {group: tuple(name for name in names if name.startswith(starts)) for group, starts in _GROUPS.items()}
    every = {name for own in found.values() for name in own}
    found["other"] = tuple(name for name in names if name not in every)
    simulation = tuple(
        f"stat_{channel.name}[{number}]"
        for channel in model.channels
        for number in range(len(channel.edges) - 1)
        if sum(process.variances[number] for process in channel.processes) > 0
    )
    if simulation:
        found["simulated events"] = simulation
    return {group: own for group, own in found.items() if own}


def _common(metadata: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first, *others = metadata
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}


def without_data(templates: Templates) -> Templates:
    """Return the templates without data: a blind analysis."""
    return dataclasses.replace(templates, model=templates.model.without_data())
