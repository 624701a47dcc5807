"""Datacards of CMS Combine: a text file, and its templates in a ROOT file; written from a model, and read back.

Format: https://cms-analysis.github.io/HiggsAnalysis-CombinedLimit. The signal strength is Combine's ``r``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from af_kit.analysis.output import replacing, write_text
from af_kit.analysis.templates.model import Channel, FreeNorm, Norm, Process, Shape, TemplateModel
from af_kit.errors import InputError, nearest

__all__ = ["read_datacard", "write_datacard"]

_STATISTICAL = "autoMCStats 0 1 1"


def write_datacard(model: TemplateModel, path: str | Path) -> list[Path]:
    """Write a model as a datacard, and its templates next to it.

    Log-normal uncertainties are ``lnN``; varied templates are ``shape``, whose yield Combine takes from the templates;
    free factors other than the strength are ``rateParam`` with limits; the statistical uncertainties are
    ``autoMCStats 0 1 1`` (one parameter for each bin, signal included). Channels without data get those expected
    (Asimov data).

    Parameters
    ----------
    path
        The text file, such as ``datacards/hmumu.txt``; the ROOT file has the same name with ``.root``.
    """
    path = Path(path)
    root = path.with_suffix(".root")
    root.parent.mkdir(parents=True, exist_ok=True)
    with replacing(root) as part:
        _write_templates(model, part)
    return [write_text(_text(model, root.name), path), root]


def _write_templates(model: TemplateModel, path: Path) -> None:
    import uproot

    with uproot.recreate(path) as file:
        for channel in model.channels:
            data = channel.total if channel.data is None else channel.data
            file[f"{channel.name}/data_obs"] = _histogram(channel, data, data)
            for process in channel.processes:
                name = f"{channel.name}/{process.name}"
                file[name] = _histogram(channel, process.values, process.variances)
                for source, shape in process.shapes.items():
                    for direction, values in (("Up", shape.up), ("Down", shape.down)):
                        file[f"{name}_{source}{direction}"] = _histogram(channel, values, process.variances)


def _histogram(channel: Channel, values: Any, variances: Any) -> Any:
    from hist import Hist

    histogram = Hist.new.Var(channel.edges, name="x", label=channel.variable).Weight()
    view = histogram.view()
    view["value"], view["variance"] = values, variances
    return histogram


def _text(model: TemplateModel, root: str) -> str:
    columns = [(channel, process) for channel in model.channels for process in channel.processes]
    names = list(dict.fromkeys(process.name for _, process in columns))
    signals = [name for name in names if name in model.signals]
    # Combine: signals have numbers of 0 or less.
    numbers = {name: -place for place, name in enumerate(signals)}
    numbers |= {name: 1 + place for place, name in enumerate(name for name in names if name not in signals)}
    rule = "-" * 80
    lines = [
        f"imax {len(model.channels)} number of channels",
        f"jmax {len(names) - 1} number of processes minus 1",
        "kmax * number of nuisance parameters",
        rule,
        f"shapes * * {root} $CHANNEL/$PROCESS $CHANNEL/$PROCESS_$SYSTEMATIC",
        rule,
        _row("bin", [channel.name for channel in model.channels]),
        _row(
            "observation",
            [_number((channel.total if channel.data is None else channel.data).sum()) for channel in model.channels],
        ),
        rule,
        _row("bin", [channel.name for channel, _ in columns]),
        _row("process", [process.name for _, process in columns]),
        _row("process", [str(numbers[process.name]) for _, process in columns]),
        _row("rate", [_number(process.total) for _, process in columns]),
        rule,
    ]
    for source in model.sources:
        lines.append(_source(source, columns))
    for name in model.free:
        if name != model.poi:
            lines += _rate_parameters(name, model)
    if model.statistical:
        lines.append(f"* {_STATISTICAL}")
    return "\n".join(lines)


def _source(source: str, columns: list[tuple[Channel, Process]]) -> str:
    cells, kinds = [], set()
    for _, process in columns:
        if source in process.shapes:
            cells.append("1")
            kinds.add("shape")
        elif source in process.norms:
            norm = process.norms[source]
            symmetric = np.isclose(norm.up * norm.down, 1, rtol=1e-12, atol=0)
            cells.append(_number(norm.up) if symmetric else f"{_number(norm.down)}/{_number(norm.up)}")
            kinds.add("lnN")
        else:
            cells.append("-")
    if len(kinds) > 1:
        raise InputError(
            f"{source} is a shape of one process and log-normal of another: name them apart for a datacard."
        )
    return _row(f"{source} {kinds.pop()}", cells)


def _rate_parameters(name: str, model: TemplateModel) -> list[str]:
    free = model.free[name]
    start = f"{_number(free.start)} [{_number(free.low)},{_number(free.high)}]"
    return [
        f"{name} rateParam {channel.name} {process.name} {start}"
        for channel in model.channels
        for process in channel.processes
        if name in process.free
    ]


def _row(title: str, cells: list[str]) -> str:
    return f"{title:<34}" + " ".join(f"{cell:<20}" for cell in cells).rstrip()


def _number(value: float) -> str:
    return repr(float(value))


def read_datacard(path: str | Path, *, poi: str = "mu", limits: tuple[float, float] = (-20.0, 20.0)) -> TemplateModel:
    """Read a datacard that :func:`write_datacard` wrote, or one that uses no other features.

    Parameters
    ----------
    path
        The text file.
    poi, limits
        Name and limits of the signal strength, which a card does not have.

    Raises
    ------
    InputError
        A line is not understood, a template is missing, or a rate is not the sum of its template.
    """
    path = Path(path)
    card = _parsed(path)
    import uproot

    found: dict[str, list[Process]] = {name: [] for name in card["bins"]}
    free = {poi: FreeNorm(float(np.clip(1.0, *limits)), *limits)}
    free |= {name: norm for name, (norm, _) in card["rates"].items()}
    edges: dict[str, Any] = {}
    observed: dict[str, Any] = {}
    with uproot.open(path.parent / card["file"]) as file:

        def template(channel: str, name: str) -> tuple[Any, Any]:
            try:
                histogram = file[f"{channel}/{name}"]
            except KeyError as error:
                raise InputError(f"{path}: there is no template {channel}/{name} in {card['file']}.") from error
            edges[channel] = histogram.axis().edges()
            return np.asarray(histogram.values(), float), np.asarray(histogram.variances(), float)

        for column, (channel, name) in enumerate(zip(card["columns"], card["processes"], strict=True)):
            values, variances = template(channel, name)
            if not np.isclose(values.sum(), card["yields"][column], rtol=1e-9):
                raise InputError(
                    f"{path}: the rate of {name} in {channel} is {card['yields'][column]:g}, and its template has "
                    f"{values.sum():g} events."
                )
            shapes, norms = {}, {}
            for source, (kind, cells) in card["sources"].items():
                cell = cells[column]
                if cell == "-":
                    continue
                if kind == "lnN":
                    norms[source] = _norm(cell)
                else:
                    shapes[source] = Shape(*(template(channel, f"{name}_{source}{end}")[0] for end in ("Up", "Down")))
            factors = [poi] if card["numbers"][column] <= 0 else []
            factors += [rate for rate, (_, places) in card["rates"].items() if (channel, name) in places]
            found[channel].append(Process(name, values, variances, shapes, norms, tuple(factors)))
        for channel in card["bins"]:
            observed[channel] = template(channel, "data_obs")[0]
    channels = tuple(Channel(name, edges[name], tuple(found[name]), observed[name]) for name in card["bins"])
    return TemplateModel(channels, free, poi, card["statistical"])


def _norm(cell: str) -> Norm:
    low, _, high = cell.rpartition("/")
    return Norm(float(high), float(low)) if low else Norm.of(float(high))


def _parsed(path: Path) -> Mapping[str, Any]:
    card: dict[str, Any] = {"sources": {}, "rates": {}, "statistical": False}
    rows: dict[str, list[list[str]]] = {"bin": [], "process": []}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if not words or set(words[0]) == {"-"} or words[0] in ("imax", "jmax", "kmax") or words[0].startswith("#"):
            continue
        if words[0] in rows:
            rows[words[0]].append(words[1:])
        elif words[0] == "shapes":
            card["file"] = words[3]
        elif words[0] == "observation":
            continue
        elif words[0] == "rate":
            card["yields"] = list(map(float, words[1:]))
        elif " ".join(words) == f"* {_STATISTICAL}":
            card["statistical"] = True
        elif len(words) > 2 and words[1] in ("lnN", "shape"):
            card["sources"][words[0]] = (words[1], words[2:])
        elif len(words) == 6 and words[1] == "rateParam" and (bounds := re.fullmatch(r"\[(.+),(.+)\]", words[5])):
            norm = FreeNorm(float(words[4]), float(bounds[1]), float(bounds[2]))
            card["rates"].setdefault(words[0], (norm, []))[1].append((words[2], words[3]))
        else:
            kind = words[1] if len(words) > 1 else words[0]
            raise InputError(
                f"{path}, line {number}: {' '.join(words[:3])!r} is not understood."
                f"{nearest(kind, ['lnN', 'shape', 'rateParam', 'autoMCStats'])}"
            )
    if len(rows["bin"]) != 2 or len(rows["process"]) != 2 or "file" not in card or "yields" not in card:
        raise InputError(f"{path} is not a datacard with shapes: it needs shapes, bin, process and rate lines.")
    card |= {"bins": rows["bin"][0], "columns": rows["bin"][1]}
    names, numbers = rows["process"]
    if not numbers[0].lstrip("-").isdigit():
        names, numbers = numbers, names
    return {**card, "processes": names, "numbers": list(map(int, numbers))}
