"""``af-kit doctor``: find out what is wrong, and what to do about it."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from af_kit.cli.console import answer, emit_json
from af_kit.cli.exit_codes import epilog

_EPILOG = """\
examples:
  af-kit doctor
  af-kit doctor --open root://eospublic.cern.ch//eos/opendata/cms/file.root
  af-kit doctor --scheduler tcp://10.0.0.7:8786 --json

With --json it prints the object that docs/doctor.md describes.
"""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "doctor",
        parents=[common],
        help="find out what is wrong, and what to do about it",
        description="Check credentials, storage, disk, memory, configuration, batch systems and a cluster, and print "
        "what is wrong and what to do. Nothing is changed, and no secrets are shown.",
        epilog=_EPILOG + epilog("doctor"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--open", metavar="URL", help="a file to open, root://... (default: af_kit.doctor.test_file)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="also check this cluster: an address or a name")
    parser.set_defaults(command=doctor, has_json=True)


def doctor(arguments: argparse.Namespace) -> int:
    """Run all checks, print the findings, and return 1 if there are problems."""
    import warnings

    import dask

    from af_kit.doctor.diagnose import doctor as diagnose

    with contextlib.ExitStack() as stack:
        client = None
        if arguments.scheduler:
            from af_kit.cluster.connect import connect

            # The doctor itself reports what connect would refuse or warn about.
            stack.enter_context(dask.config.set({"af_kit.cluster.check_versions": False}))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            client = stack.enter_context(connect(arguments.scheduler, n_workers=0, quiet=True))
        diagnosis = diagnose(client, open=arguments.open)
    answer(str(diagnosis))
    emit_json(diagnosis.to_dict())
    return 1 if diagnosis.problems else 0
