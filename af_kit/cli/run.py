"""``af-kit run``: run an analysis from the command line."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import tempfile
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from af_kit import __version__
from af_kit.analysis.output import write_json
from af_kit.cli.cluster_options import add_cluster_options, cluster_options
from af_kit.cli.console import aside, complain, emit_json, note, say, whole_number
from af_kit.cli.delivery import add_delivery_options, deliver, named_files
from af_kit.cli.exit_codes import epilog
from af_kit.errors import FunctionError, InputError

if TYPE_CHECKING:
    from af_kit.run.bookkeeping import Failure
    from af_kit.run.report import Report
    from af_kit.run.result import Result

# The number of failed files to list on the terminal; report.json lists all of them.
_LISTED = 10

_EPILOG = """\
examples:
  af-kit run dimuon samples/*.root --out results
  af-kit run dimuon dimuon.yaml --out results --n-workers 8
  af-kit run dsphipi samples/fileset.yaml --out results --engine numba
  af-kit run dimuon dimuon.yaml --out results --scheduler tcp://10.0.0.7:8786
  af-kit run analysis.py samples/*.root --out results             your own analysis: af-kit new makes one
  af-kit run my_package.analysis fileset.yaml --out results --pt-min 25
  af-kit run hmumu --help                                         the options of one analysis

ANALYSIS is the path of a Python file, or a module (my_package.analysis), with a function analyse(events) or a coffea
processor; or one of the kit's:
{analyses}

It writes report.json (entries planned, processed and failed, with reasons), histograms.json, tables as Parquet and
plots/. If some files fail, they are listed, the output contains the others, and the exit code is 1. With --json, the
content of report.json is printed.
"""


def add_to(commands: Any, common: argparse.ArgumentParser, argv: Sequence[str] = ()) -> None:
    """Add the subcommand to the parser, with the options of the analysis that ``argv`` names."""
    parser = commands.add_parser(
        "run",
        parents=[common],
        help="run an analysis over files, and write its report, histograms, tables and plots",
        description="Run an analysis over files, and write its report, histograms, tables and plots.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("analysis", metavar="ANALYSIS", help="the name of an analysis, or your own: see below")
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
        "--chunk-entries", type=whole_number(least=1), metavar="N", help="maximum entries per chunk (default: by size)"
    )
    parser.add_argument(
        "--max-chunks",
        type=whole_number(least=1),
        metavar="N",
        help="only the first chunks of each dataset, for a quick look; the report says what was left out",
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="save finished chunks here, and resume from them"
    )
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="do not check the files' checksums")
    parser.add_argument("--verify", action="store_true", help=argparse.SUPPRESS)  # the default
    parser.set_defaults(verify=True)
    parser.add_argument("--no-plots", dest="plots", action="store_false", help="do not draw figures")
    where = parser.add_argument_group("where to run (default: threads of this process)")
    where.add_argument("--n-workers", type=whole_number(least=1), metavar="N", help="number of workers")
    where.add_argument("--cluster", metavar="BACKEND", help="start a cluster with this backend: local, slurm, ...")
    add_cluster_options(where)
    where.add_argument("--scheduler", metavar="ADDRESS", help="connect to this running Dask scheduler: tcp://HOST:PORT")
    add_delivery_options(where)
    parser.set_defaults(command=run, loaded=None, analysis_options=(), has_json=True)
    if argv and argv[0] == "run":
        _add_analysis(parser, argv[1:])


def _add_analysis(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Add the options of the analysis on the command line, or the list of analyses to the help."""
    from af_kit.cli.analysis_module import built_in, load_analysis, name_of_analysis

    takes_value = {flag: action.nargs != 0 for action in parser._actions for flag in action.option_strings}
    known = built_in()
    listed = "\n".join(f"  {name:<9} {about}" for name, about in known.items())
    parser.epilog = _EPILOG.replace("{analyses}", listed) + epilog("run")
    if (name := name_of_analysis(argv, takes_value)) is not None:
        analysis = load_analysis(name)
        analysis.add_options(parser)
        parser.set_defaults(loaded=analysis)


def run(arguments: argparse.Namespace) -> int:
    """Run the analysis, write its output, and list what failed."""
    if arguments.scheduler and (arguments.cluster or arguments.n_workers):
        raise InputError("--scheduler connects to a running cluster: do not combine it with --n-workers or --cluster.")
    named_files(arguments.send)  # what is wrong is said before the work
    check_writable(arguments.out)

    from af_kit.analysis.style import common_metadata
    from af_kit.data.fileset.datasets import DEFAULT_TREENAME
    from af_kit.data.fileset.load import load_fileset

    analysis = arguments.loaded
    if analysis is None or analysis.name != arguments.analysis:
        raise InputError("Name the analysis first, then its files and options: af-kit run ANALYSIS FILE ... --out DIR")
    fileset = load_fileset(
        arguments.files,
        treename=arguments.treename,
        datasets=arguments.datasets,
        default_treename=analysis.treename or DEFAULT_TREENAME,
    )
    unfinished: FunctionError | None = None
    with _one_line_warnings(), _stop_signals(), _client(arguments) as client:
        deliver(arguments, fileset, client)
        try:
            result = analysis.process(
                fileset,
                client,
                _own_options(arguments),
                chunk_entries=arguments.chunk_entries,
                max_chunks=arguments.max_chunks,
                checkpoint=arguments.checkpoint,
                verify=arguments.verify,
                on_error="collect",
            )
        except FunctionError as error:
            if error.result is None:
                raise
            result, unfinished = error.result, error  # its finish() failed: keep what was merged
    report = result.report
    for line in report.notes:
        note(f"note: {line}")
    _list_failures(report, with_traceback=arguments.traceback)
    metadata = common_metadata(dataset.metadata for dataset in fileset.values())
    with _one_line_warnings():
        content, files, problems = _write(arguments, result, metadata, finished=unfinished is None)
    if unfinished is not None:
        problems.append(str(unfinished).replace("`.result` of this error", "What is written"))
        if arguments.traceback:
            traceback.print_exception(unfinished)
    for problem in problems:
        complain(problem)
    entries = report.entries
    say(
        f"{entries['processed']:,} of {entries['planned']:,} entries processed in {report.wall_s:.1f} s "
        f"({report.entries_per_s:,.0f}/s, {report.bytes_read / 1e6:,.0f} MB)"
    )
    for file in files:
        say(f"  {file}")
    if result and unfinished is None and (text := analysis.summary(result)) is not None:  # to read at once
        say(text)
    emit_json({"out": arguments.out, **content})
    if report.complete:
        return 1 if problems else 0
    return 130 if any(failure.kind == "interrupted" for failure in report.failures) else 1


def _own_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of this analysis that were given."""
    given = {name: getattr(arguments, name) for name in arguments.analysis_options}
    return {name: value for name, value in given.items() if value is not None}


def _write(
    arguments: argparse.Namespace, result: Result, metadata: dict[str, Any], *, finished: bool
) -> tuple[dict[str, Any], list[Path], list[str]]:
    """Remove the outputs of an older run, and write the new ones and the report that lists them.

    Return the report's content, the files, and what could not be written.
    """
    folder: Path = arguments.out
    path = folder / "report.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        for name in json.loads(path.read_text(encoding="utf-8"))["outputs"]:
            if (folder / name).resolve().is_relative_to(folder.resolve()):
                (folder / name).unlink(missing_ok=True)
    options = {name: str(value) for name, value in _own_options(arguments).items()}
    what = {"af_kit": __version__, "analysis": arguments.analysis, "options": options}
    content = {**what, "outputs": [], **result.report.to_dict()}
    write_json(content, path)  # before the rest, which may fail
    files: list[Path] = []
    problems: list[str] = []
    if result and finished:
        files, problems = arguments.loaded.write(result, folder, metadata=metadata, plots=arguments.plots)
    elif result:
        from af_kit.analysis.save import save

        files, problems = save(result, folder, metadata=metadata, plots=False)
    content["outputs"] = [os.path.relpath(file, folder) for file in files]
    write_json(content, path)
    return content, [path, *files], problems


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
