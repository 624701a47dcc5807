"""The command ``af-kit``: parse the command line, run a subcommand, and turn errors into messages and exit codes."""

from __future__ import annotations

import argparse
import itertools
import sys
import traceback
from collections.abc import Sequence

import af_kit
from af_kit.cli import bench, cluster, completion, doctor, fit, lab, new, run, simulate, train, worker
from af_kit.cli.console import complain, emit_json, talking
from af_kit.cli.exit_codes import epilog
from af_kit.errors import AfKitError, ConnectError, InputError, MissingExtraError, ReadError

_DESCRIPTION = "Analyse ROOT files of any size, on this machine or on a cluster, and account for every entry."
_EPILOG = """\
examples:
  af-kit simulate dimuon --events 1000000 --files 4 --out samples
  af-kit run dimuon samples/*.root --out results
  af-kit run dimuon dimuon.yaml --n-workers 8 --out results      the CMS open data of 2012
  af-kit run dimuon dimuon.yaml --out results --json --quiet     for scripts: one JSON document on stdout
"""
# Accepted before and after the subcommand
_COMMON = (
    (("-q", "--quiet"), "show errors only: no progress bars, notes or summaries"),
    (("-v", "--verbose"), "show step by step what is done, on stderr"),
    (("--json",), "print one JSON document on stdout instead of text"),
    (("--traceback",), "show the Python traceback of an error"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv
        The arguments after ``af-kit``; by default those of this process.

    Returns
    -------
    int
        The exit code: see ``af-kit --help``. A wrong command line and ``--help`` raise SystemExit.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        parser = build_parser(argv)
    except InputError as error:  # the analysis that `run` names cannot be loaded
        flags = argparse.Namespace(**{name: f"--{name}" in argv for name in ("quiet", "verbose", "json", "traceback")})
        with talking(flags):
            return _failed(flags, error, str(error), code=2)
    arguments = parser.parse_args(argv)
    if arguments.quiet and arguments.verbose:
        parser.error("--quiet and --verbose exclude each other")
    if arguments.json and not arguments.has_json:
        parser.error("this command has no JSON output")
    with talking(arguments):
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    try:
        code: int = arguments.command(arguments)
    except KeyboardInterrupt:
        return _failed(arguments, KeyboardInterrupt(), "interrupted.", code=130)
    except (InputError, ReadError, ConnectError, MissingExtraError) as error:
        return _failed(arguments, error, str(error), code=2)
    except (AfKitError, OSError) as error:
        return _failed(arguments, error, str(error), code=1)
    except Exception as error:  # noqa: BLE001 - the last handler: report it in one paragraph
        hint = "" if arguments.traceback else " Add --traceback to see where."
        return _failed(arguments, error, f"unexpected {type(error).__name__}: {error}.{hint}", code=1)
    return code


def _failed(arguments: argparse.Namespace, error: BaseException, message: str, *, code: int) -> int:
    if arguments.traceback and code != 130:
        traceback.print_exc(file=sys.stderr)
    complain(message)
    emit_json({"error": {"type": type(error).__name__, "message": message}, "exit_code": code})
    return code


def build_parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser of the whole command line; ``argv`` may name an analysis, which has options of its own."""
    parser = argparse.ArgumentParser(
        prog="af-kit",
        description=_DESCRIPTION,
        epilog=_EPILOG + epilog("run") + "Other commands: af-kit COMMAND --help.\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"af-kit {af_kit.__version__}")
    # Suppressed after the subcommand, so that a default does not overwrite the option before it.
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("options of every command")
    for flags, meaning in _COMMON:
        parser.add_argument(*flags, action="store_true", help=meaning)
        group.add_argument(*flags, action="store_true", default=argparse.SUPPRESS, help=meaning)
    parser.set_defaults(has_json=False, build_parser=build_parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (new, simulate):
        command.add_to(commands, common)
    run.add_to(commands, common, list(itertools.dropwhile(lambda word: word.startswith("-"), argv)))
    for command in (train, fit, bench, cluster, worker, lab, doctor, completion):
        command.add_to(commands, common)
    return parser
