"""``af-kit new``: a folder for an analysis of your own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from af_kit.cli.console import say
from af_kit.cli.exit_codes import epilog
from af_kit.errors import InputError

_TEMPLATE = Path(__file__).with_name("new_analysis")
# In the order in which one reads them
_FILES = ("README.md", "analysis.py", "fileset.yaml", "explore.ipynb", "test_analysis.py")
_NAME = "NAME"

_EPILOG = """\
example:
  af-kit new zmumu
  cd zmumu
  af-kit simulate dimuon --events 200000 --files 4 --out samples
  af-kit run analysis.py fileset.yaml --out results

It writes README.md, analysis.py (select, fill, plot), fileset.yaml, explore.ipynb and test_analysis.py, to be edited.
"""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "new",
        parents=[common],
        help="make a folder for an analysis of your own",
        description="Make a folder for an analysis of your own: a working one, to edit.",
        epilog=_EPILOG + epilog("new"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folder", type=Path, metavar="NAME", help="the folder to make; its last part names the analysis"
    )
    parser.set_defaults(command=new)


def new(arguments: argparse.Namespace) -> int:
    """Write the files of the template into a new folder."""
    folder: Path = arguments.folder
    name = folder.absolute().name
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "is not empty" if folder.is_dir() else "is a file"
        raise InputError(f"{folder} {what}, and nothing is overwritten. Give the name of a new folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in _FILES:
            text = (_TEMPLATE / file).read_text(encoding="utf-8")
            (folder / file).write_text(text.replace(_NAME, name), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}. Give a folder that you can write to.") from error
    say(f"{folder}: {', '.join(_FILES)}")
    say(f"next: cd {folder}, then")
    say("  af-kit simulate dimuon --events 200000 --files 4 --out samples")
    say("  af-kit run analysis.py fileset.yaml --out results")
    return 0
