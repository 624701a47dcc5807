"""``af-kit fit``: the statistical analysis of what ``af-kit run`` left in a folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from af_kit.analysis.output import write_json
from af_kit.cli.console import complain, emit_json, note, say, whole_number
from af_kit.cli.exit_codes import epilog
from af_kit.errors import FitError, InputError

# What --json prints of each part of fit.json
_SUMMARY = (
    "valid", "reasons", "at_limit", "advice", "data", "blind", "lumi_ifb", "strength", "uncertainty", "significance",
    "expected_significance", "limit", "goodness", "minos", "families", "toys", "notes",
)  # fmt: skip

_EPILOG = """\
examples:
  af-kit fit hmumu results --out fit                          expected sensitivity: Asimov data
  af-kit fit hmumu results --data simulation --lumi 60        the same for a result with few or no data
  af-kit fit hmumu 2016 2017 2018 --unblind --out fit         three years, observed data
  af-kit fit hmumu results --lumi 137 --out projection        expectation scaled to 137/fb

It writes fit.json (results, parameters, impacts, everything that was changed in the templates), workspace.json (pyhf),
datacards/ (CMS Combine), hepdata/ (the points of the figures) and plots/. If a fit is not valid, fit.json has its
reasons ("valid": false), no plot shows it, and the exit code is 1.
"""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "fit",
        parents=[common],
        help="fit the signal strength of H -> mu mu, and write workspace, datacards and plots",
        description="Fit the signal strength in the results of `af-kit run hmumu`.",
        epilog=_EPILOG + epilog("fit"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("analysis", choices=("hmumu",), help="hmumu: H -> mu mu with the VBF channel")
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="DIR", help="folder of af-kit run hmumu; one for each year"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="output folder (default: `fit` in DIR; needed for several years)"
    )
    data = parser.add_mutually_exclusive_group()
    data.add_argument(
        "--blind", action="store_true", help="fit the data expected with strength 1, not the observed ones (default)"
    )
    data.add_argument("--unblind", action="store_true", help="fit the observed data")
    parser.add_argument(
        "--data", choices=("observed", "simulation"), default="observed",
        help="shape fit: the data, or pseudo-data drawn from the simulation (default: observed)",
    )  # fmt: skip
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--templates", action="store_true", help="only the template fit")
    what.add_argument("--shape", action="store_true", help="only the fit of the dimuon mass by functions")
    parser.add_argument(
        "--variable", metavar="NAME", help="templates: histogram to fit (default: dnn_score, else dimuon_mass)"
    )
    parser.add_argument("--channel", default="vbf", metavar="NAME", help="templates: channel (default: vbf)")
    parser.add_argument(
        "--lumi",
        type=float,
        metavar="IFB",
        help="scale the expectation to this luminosity [1/fb]; not for observed data",
    )
    parser.add_argument(
        "--strength", nargs=2, type=float, metavar=("LOW", "HIGH"),
        help="templates: limits of the signal strength (default: beyond its uncertainty, at least -20 20)",
    )  # fmt: skip
    parser.add_argument(
        "--merge", type=float, default=0.3, metavar="X",
        help="templates: merge bins until the simulation's relative uncertainty is at most this (default: 0.3)",
    )  # fmt: skip
    parser.add_argument(
        "--no-split", dest="split", action="store_false",
        help="templates: Drell-Yan is one process, not two by the generator jets of its jets",
    )  # fmt: skip
    parser.add_argument("--smooth", action="store_true", help="templates: smooth variations of jets and muon momentum")
    parser.add_argument(
        "--symmetrise", choices=("none", "one_sided", "all"), default="one_sided", help="templates: which variations"
    )
    parser.add_argument(
        "--prune", type=float, default=0.005, metavar="X", help="templates: leave out smaller effects (default: 0.005)"
    )
    parser.add_argument(
        "--uncertainties", metavar="FILE", help="templates: processes and uncertainties, if not those of the kit"
    )
    parser.add_argument(
        "--toys", type=whole_number(least=2), metavar="N", help="templates: fit N toys, and write their pulls"
    )
    parser.add_argument(
        "--seed", type=whole_number(least=0), default=1, metavar="S", help="of toys and pseudo-data (default: 1)"
    )
    parser.add_argument("--no-plots", dest="plots", action="store_false", help="do not draw figures")
    parser.set_defaults(command=fit, has_json=True)


def fit(arguments: argparse.Namespace) -> int:
    """Fit, write the output, and return 1 if a fit is not valid."""
    if arguments.shape and len(arguments.folders) > 1:
        raise InputError("The fit of the mass takes one year at a time: name one folder.")
    if arguments.out is None:
        if len(arguments.folders) > 1:
            raise InputError("Several years need an output folder: --out DIR.")
        arguments.out = arguments.folders[0] / "fit"
    if arguments.unblind and arguments.data == "simulation":
        raise InputError("--unblind is for observed data: leave it out, or --data simulation.")
    if arguments.unblind and arguments.lumi:
        raise InputError("--lumi scales the expectation, and observed data cannot be scaled: leave out --unblind.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {}
    files: list[Path] = []
    if not arguments.shape:
        document["templates"], written = _templates(arguments)
        files += written
    if not arguments.templates and len(arguments.folders) == 1:
        document["shape"], written = _shape(arguments)
        files += written
    valid = all(part["valid"] for part in document.values())
    head = {"valid": valid, "results": [str(folder) for folder in arguments.folders]}
    path = write_json({**head, **document}, arguments.out / "fit.json")
    for file in (path, *files):
        say(f"  {file}")
    outputs = [file.relative_to(arguments.out) for file in (path, *files)]
    parts = {name: {key: part[key] for key in _SUMMARY if key in part} for name, part in document.items()}
    emit_json({**head, "out": arguments.out, "outputs": outputs, **parts})
    return 0 if valid else 1


def _templates(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[Path]]:
    """Return the part of ``fit.json`` about the template fit, and the files written."""
    from af_kit.analysis.hmumu.template_fit import about, fit_templates, write_model
    from af_kit.analysis.hmumu.template_tables import write_points
    from af_kit.analysis.hmumu.templates import build_templates, without_data
    from af_kit.analysis.templates import toys

    templates = build_templates(
        arguments.folders,
        variable=arguments.variable,
        channel=arguments.channel,
        uncertainties=arguments.uncertainties,
        strength=arguments.strength and tuple(arguments.strength),
        lumi_ifb=arguments.lumi,
        smooth=arguments.smooth,
        split=arguments.split,
        merge=arguments.merge,
        symmetrise=arguments.symmetrise,
        prune=arguments.prune,
    )
    for line in templates.notes:
        note(f"note: {line}")
    if not arguments.unblind:
        templates = without_data(templates)
    plots = arguments.out / "plots"
    _remove_plots(plots)
    files = write_model(templates, arguments.out)
    try:
        result = fit_templates(templates, blind=not arguments.unblind)
    except FitError as error:
        complain(f"templates: {error}")
        return {**_invalid(error), **about(templates)}, files
    say(result.summary())
    document = result.to_dict()
    if arguments.toys:
        found = toys(templates.model, arguments.toys, seed=arguments.seed)
        document["toys"] = found.to_dict()
        pull = found.pull(templates.model.poi)
        say(f"  {arguments.toys} toys: pull mean {pull.mean:+.2f} +- {pull.mean_error:.2f}, width {pull.width:.2f} +- "
            f"{pull.width_error:.2f}, {100 * found.valid_fraction:.0f} % valid")  # fmt: skip
    files += write_points(result, arguments.out / "hepdata")
    return document, files + (result.plot(plots) if arguments.plots else [])


def _shape(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[Path]]:
    """Return the part of ``fit.json`` about the fit of the mass by functions, and the files written."""
    from af_kit.analysis.hmumu import fit_shapes, plot_shapes

    simulated = arguments.data == "simulation"
    try:
        result = fit_shapes(
            arguments.folders[0],
            data=arguments.data,
            blind=None if simulated else not arguments.unblind,
            lumi_ifb=arguments.lumi if simulated else None,
            seed=arguments.seed,
        )
    except FitError as error:
        complain(f"shape: {error}")
        return _invalid(error), []
    except InputError as error:
        if arguments.shape:
            raise
        complain(f"shape: {error}")  # the template fit is done, and stays
        return {"valid": False, "reasons": [str(error)]}, []
    say(f"shape: {result}")
    files = plot_shapes(result, arguments.out / "plots") if arguments.plots else []
    return result.to_dict(), list(files)


def _invalid(error: FitError) -> dict[str, Any]:
    return {"valid": False, "reasons": list(error.reasons), "at_limit": list(error.at_limit), "advice": str(error)}


def _remove_plots(folder: Path) -> None:
    """Remove the figures of an older fit: none may stay beside a fit that is not valid."""
    for pattern in ("*.png", "*.pdf"):
        for path in folder.glob(pattern):
            path.unlink()
