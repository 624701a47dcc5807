"""The command ``af-kit``: parse the command line, run a subcommand, and turn errors into messages and exit codes."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence

import af_kit
from af_kit.cli import cluster, doctor, fit, lab, new, run, simulate, train, worker
from af_kit.cli.console import complain
from af_kit.errors import AfKitError, ConnectError, InputError, MissingExtraError, ReadError

_DESCRIPTION = "Analyse ROOT files of any size, on this machine or on a cluster, and account for every entry."
_EPILOG = """\
examples:
  af-kit simulate dimuon --events 1000000 --files 4 --out samples
  af-kit run dimuon samples/*.root --out results
  af-kit run dimuon dimuon.yaml --n-workers 8 --out results      the CMS open data of 2012

exit codes:
    0  all entries were processed
    1  some entries failed: the others are in the output, and report.json lists the
       failures; or an unexpected error occurred
    2  a wrong command line or input, a cluster that does not answer, or no file that
       can be opened: nothing is written
  130  interrupted: the entries processed until then are in the output
"""


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
    arguments = argparse.Namespace(traceback="--traceback" in argv)  # until they are parsed
    try:
        arguments = _parser(argv).parse_args(argv)
        code: int = arguments.command(arguments)
    except KeyboardInterrupt:
        complain("interrupted.")
        return 130
    except (InputError, ReadError, ConnectError, MissingExtraError) as error:
        return _failed(arguments, str(error), code=2)
    except (AfKitError, OSError) as error:
        return _failed(arguments, str(error), code=1)
    except Exception as error:  # noqa: BLE001 - the last handler: report it in one paragraph
        hint = "" if arguments.traceback else " Add --traceback to see where."
        return _failed(arguments, f"unexpected {type(error).__name__}: {error}.{hint}", code=1)
    return code


def _failed(arguments: argparse.Namespace, message: str, *, code: int) -> int:
    if arguments.traceback:
        traceback.print_exc(file=sys.stderr)
    complain(message)
    return code


def _parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="af-kit",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"af-kit {af_kit.__version__}")
    parser.add_argument("--traceback", action="store_true", help="show the Python traceback of an error")
    # Also accepted after the subcommand; suppressed, so that its default does not overwrite the option before it.
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--traceback", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (new, simulate):
        command.add_to(commands, common)
    words = [word for word in argv if word != "--traceback"]
    run.add_to(commands, common, words)
    for command in (train, fit, cluster, worker, lab, doctor):
        command.add_to(commands, common)
    return parser
