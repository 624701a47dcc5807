"""``af-kit run``: run an analysis from the command line."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import json
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from af_kit.analysis.output import write_json
from af_kit.cli.cluster_options import add_cluster_options, cluster_options
from af_kit.cli.console import aside, complain, emit_json, note, say, whole_number
from af_kit.cli.exit_codes import epilog
from af_kit.errors import InputError

if TYPE_CHECKING:
    from af_kit.run.bookkeeping import Failure
    from af_kit.run.report import Report
    from af_kit.run.result import Result

# Modules of af_kit.analysis, with process(fileset, client, **options) and
# write(result, folder, metadata=..., plots=...).
ANALYSES = {
    "dimuon": "the dimuon mass spectrum",
    "dsphipi": "Ds -> phi(mu mu) pi",
    "hmumu": "H -> mu mu with the VBF channel",
    "counting": "counts of leptons, jets and multilepton events",
}

# The number of failed files to list on the terminal; report.json lists all of them.
_LISTED = 10

_EPILOG = """\
examples:
  af-kit run dimuon samples/*.root --out results
  af-kit run dimuon dimuon.yaml --out results --n-workers 8
  af-kit run dsphipi samples/fileset.yaml --out results --engine numba
  af-kit run dimuon dimuon.yaml --out results --scheduler tcp://10.0.0.7:8786

It writes report.json (entries planned, processed and failed, with reasons), histograms.json, candidates.parquet and
plots/. If some files fail, they are listed, the output contains the others, and the exit code is 1. With --json, the
content of report.json is printed.
"""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "run",
        parents=[common],
        help="run an analysis over files, and write its report, histograms, tables and plots",
        description="Run an analysis over files, and write its report, histograms, tables and plots.",
        epilog=_EPILOG + epilog("run"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("analysis", choices=ANALYSES, help="; ".join(": ".join(item) for item in ANALYSES.items()))
    parser.add_argument(
        "files", nargs="+", metavar="FILE|FILESET", help="ROOT files, URLs, globs, or filesets (.yaml, .json)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder; created if needed")
    parser.add_argument(
        "--datasets", nargs="+", action="extend", metavar="NAME", help="only these datasets of the fileset"
    )
    parser.add_argument(
        "--treename", metavar="NAME", help="tree to read (default: that of the fileset, else of the analysis)"
    )
    parser.add_argument(
        "--engine",
        choices=("awkward", "numba"),
        help="dimuon, dsphipi: implementation of the analysis (default: awkward)",
    )
    parser.add_argument(
        "--chunk-entries", type=whole_number(least=1), metavar="N", help="maximum entries per chunk (default: by size)"
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="save finished chunks here, and resume from them"
    )
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="do not check the files' checksums")
    parser.add_argument("--verify", action="store_true", help=argparse.SUPPRESS)  # the default
    parser.set_defaults(verify=True)
    parser.add_argument(
        "--muon-sf",
        action="append",
        metavar="FILE",
        help="dsphipi: muon scale factors (correctionlib) for simulation; repeat for each year",
    )
    hmumu = parser.add_argument_group("hmumu")
    hmumu.add_argument(
        "--year", metavar="Y", help="campaign: 2016, 2017, 2018, 2022, or the path of your own YAML file"
    )
    hmumu.add_argument(
        "--calibrations", metavar="DIR", help="folder with the campaign's calibration files, and its golden JSON"
    )
    hmumu.add_argument(
        "--corrections",
        metavar="all|none|NAME,...",
        help="corrections to apply (default: all; none: FSR recovery and GeoFit only; all,-btag: all but one)",
    )
    hmumu.add_argument("--golden-json", metavar="FILE", help="good luminosity blocks, if not the campaign's in DIR")
    hmumu.add_argument(
        "--variations",
        choices=("none", "weights", "all"),
        help="systematic variations: none (default), of the weights, or also of jets and muons",
    )
    hmumu.add_argument("--network", metavar="DIR", help="score events with a network from af-kit train hmumu")
    parser.add_argument("--no-plots", dest="plots", action="store_false", help="do not draw figures")
    where = parser.add_argument_group("where to run (default: threads of this process)")
    where.add_argument("--n-workers", type=whole_number(least=1), metavar="N", help="number of workers")
    where.add_argument("--cluster", metavar="BACKEND", help="start a cluster with this backend: local, slurm, ...")
    add_cluster_options(where)
    where.add_argument("--scheduler", metavar="ADDRESS", help="connect to this running Dask scheduler: tcp://HOST:PORT")
    parser.set_defaults(command=run, has_json=True)


def run(arguments: argparse.Namespace) -> int:
    """Run the analysis, write its output, and list what failed."""
    if arguments.scheduler and (arguments.cluster or arguments.n_workers):
        raise InputError("--scheduler connects to a running cluster: do not combine it with --n-workers or --cluster.")
    check_writable(arguments.out)  # before the work, not after it

    from af_kit.analysis.style import common_metadata
    from af_kit.data.fileset.datasets import DEFAULT_TREENAME
    from af_kit.data.fileset.load import load_fileset

    analysis = importlib.import_module(f"af_kit.analysis.{arguments.analysis}")
    fileset = load_fileset(
        arguments.files,
        treename=arguments.treename,
        datasets=arguments.datasets,
        default_treename=getattr(analysis, "TREENAME", DEFAULT_TREENAME),
    )
    extra = _analysis_options(arguments)
    with _one_line_warnings(), _stop_signals(), _client(arguments) as client:
        result = analysis.process(
            fileset,
            client,
            chunk_entries=arguments.chunk_entries,
            checkpoint=arguments.checkpoint,
            verify=arguments.verify,
            on_error="collect",
            **extra,
        )
    report = result.report
    for line in report.notes:
        note(f"note: {line}")
    _list_failures(report, with_traceback=arguments.traceback)
    metadata = common_metadata(dataset.metadata for dataset in fileset.values())
    with _one_line_warnings():
        files = _write(arguments, result, functools.partial(analysis.write, metadata=metadata, plots=arguments.plots))
    entries = report.entries
    say(
        f"{entries['processed']:,} of {entries['planned']:,} entries processed in {report.wall_s:.1f} s "
        f"({report.entries_per_s:,.0f}/s, {report.bytes_read / 1e6:,.0f} MB)"
    )
    for file in files:
        say(f"  {file}")
    if result and hasattr(analysis, "summary"):  # a table to read at once
        say(analysis.summary(result))
    emit_json({"out": arguments.out, **json.loads((arguments.out / "report.json").read_text(encoding="utf-8"))})
    if report.complete:
        return 0
    return 130 if any(failure.kind == "interrupted" for failure in report.failures) else 1


# Options of one analysis only: its name, and the option's keyword in the analysis' `process`
_OPTIONS = {
    "muon_sf": ("dsphipi", "muon_sf"),
    "year": ("hmumu", "campaign"),
    "calibrations": ("hmumu", "calibrations"),
    "corrections": ("hmumu", "corrections"),
    "golden_json": ("hmumu", "golden_json"),
    "variations": ("hmumu", "variations"),
    "network": ("hmumu", "network"),
}


def _analysis_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of this analysis only."""
    found: dict[str, Any] = {}
    for name, (analysis, keyword) in _OPTIONS.items():
        if (value := getattr(arguments, name)) is None:
            continue
        if arguments.analysis != analysis:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} is for {analysis}: {arguments.analysis} does not use it.")
        found[keyword] = value
    if arguments.engine is not None:
        found["engine"] = arguments.engine
    return found


def _engine(arguments: argparse.Namespace) -> str:
    return arguments.engine or ("numba" if arguments.analysis == "hmumu" else "awkward")


def _write(arguments: argparse.Namespace, result: Result, write: Callable[..., list[Path]]) -> list[Path]:
    """Remove the outputs of an older run, and write the new ones and the report that lists them."""
    folder: Path = arguments.out
    path = folder / "report.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        for name in json.loads(path.read_text(encoding="utf-8"))["outputs"]:
            if (folder / name).resolve().is_relative_to(folder.resolve()):
                (folder / name).unlink(missing_ok=True)
    content = {"analysis": arguments.analysis, "engine": _engine(arguments), "outputs": [], **result.report.to_dict()}
    write_json(content, path)  # before the rest, which may fail
    files = write(result, folder) if result else []
    write_json({**content, "outputs": [str(file.relative_to(folder)) for file in files]}, path)
    return [path, *files]


@contextlib.contextmanager
def _client(arguments: argparse.Namespace) -> Iterator[Any]:
    """Yield a client of the cluster that the command line requests, or None for threads of this process."""
    if not (arguments.scheduler or arguments.cluster or arguments.n_workers or cluster_options(arguments)):
        yield None
        return
    from af_kit.cluster.connect import connect

    with aside():  # connect's messages are not the command's output
        client = connect(
            arguments.scheduler or arguments.cluster or "local",
            n_workers=arguments.n_workers,
            **cluster_options(arguments),
        )
    with client:
        yield client


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    """Treat SIGTERM, which batch systems send before the time limit, like Ctrl-C: keep what has been processed."""

    def interrupt(number: int, frame: Any) -> None:
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(number, frame)
        raise KeyboardInterrupt  # Ctrl-C is ignored if a shell script runs the command in the background

    if threading.current_thread() is not threading.main_thread():  # Python only handles signals there
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Show each warning as one paragraph, without that about failed entries: ``_list_failures`` reports them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s).*result\.retry\(\)")
        warnings.showwarning = lambda message, *_: note(f"warning: {message}")
        yield


def _list_failures(report: Report, *, with_traceback: bool) -> None:
    """Print one line per file with failed entries, and one about the entries that an interrupt left unprocessed."""
    files: dict[str, list[Failure]] = {}
    for failure in report.failures:
        if failure.kind != "interrupted":
            files.setdefault(failure.file, []).append(failure)
    for file, failures in list(files.items())[:_LISTED]:
        reason = " ".join(failures[0].reason.split())
        entries = sum(failure.entries for failure in failures)
        complain(reason if file in reason and not entries else f"{file}: {entries:,} entries not processed: {reason}")
        if with_traceback and failures[0].traceback:
            complain(failures[0].traceback)
    if len(files) > _LISTED:
        complain(f"and {len(files) - _LISTED} more files: report.json lists them.")
    if interrupted := [failure.entries for failure in report.failures if failure.kind == "interrupted"]:
        complain(f"interrupted: {sum(interrupted):,} entries were not processed.")


def check_writable(folder: Path) -> None:
    """Create the folder, and raise an InputError if it is not writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"--out {folder}: {reason}. Give a folder that you can write to.") from error
