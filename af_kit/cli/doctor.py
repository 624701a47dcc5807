"""``af-kit doctor``: what is wrong here, and what to do about it."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from af_kit.cli.console import say

_EPILOG = """\
examples:
  af-kit doctor
  af-kit doctor --open root://eospublic.cern.ch//eos/opendata/cms/file.root
  af-kit doctor --scheduler tcp://10.0.0.7:8786 --json

exit codes: 0 nothing is wrong, or only warnings; 1 there are problems; 2 a wrong command line, or no such scheduler
"""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "doctor",
        parents=[common],
        help="say what is wrong here, and what to do about it",
        description="Look at credentials, storage, disk, memory, configuration, batch systems and a cluster, and say "
        "what is wrong and what to do. Nothing is changed, and no secret is shown.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="as JSON (docs/doctor.md tells its form)")
    parser.add_argument("--open", metavar="URL", help="a file to open, root://... (default: af_kit.doctor.test_file)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="look at this cluster, too: an address or a name")
    parser.set_defaults(command=doctor)


def doctor(arguments: argparse.Namespace) -> int:
    """Run all checks, print what they found, and tell by the exit code whether there are problems."""
    import warnings

    import dask

    from af_kit.doctor.diagnose import doctor as examine

    with contextlib.ExitStack() as stack:
        client = None
        if arguments.scheduler:
            from af_kit.cluster.connect import connect

            # What connect refuses or warns about is what the doctor is to tell, each in a line.
            stack.enter_context(dask.config.set({"af_kit.cluster.check_versions": False}))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            client = stack.enter_context(connect(arguments.scheduler, n_workers=0, quiet=True))
        diagnosis = examine(client, open=arguments.open)
    say(diagnosis.to_json().rstrip() if arguments.json else str(diagnosis))
    return 1 if diagnosis.problems else 0
