"""``af-kit completion``: print the script that makes a shell complete the command line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from af_kit.cli.console import answer
from af_kit.cli.exit_codes import epilog

SHELLS = ("bash", "zsh", "tcsh")

_EPILOG = """\
examples, once for each shell:
  af-kit completion bash > ~/.local/share/bash-completion/completions/af-kit
  af-kit completion zsh > ~/.zfunc/_af-kit                  with ~/.zfunc in fpath, before compinit
  af-kit completion tcsh >> ~/.cshrc

Or for this session of bash only: eval "$(af-kit completion bash)"
"""

# The words of help texts by which arguments are known that are paths.
_FILES = ("FILE", "FILE|FILESET", "ANALYSIS", "PATH")
_FOLDERS = ("DIR", "NETWORK")


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "completion",
        parents=[common],
        help="print the script that makes your shell complete the command line",
        description="Print the script that makes your shell complete commands, options, files and folders.",
        epilog=_EPILOG + epilog("completion"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell that reads the script")
    parser.set_defaults(command=completion)


def completion(arguments: argparse.Namespace) -> int:
    """Print the script for a shell."""
    import shtab

    parser = arguments.build_parser()
    _prepare(parser, shtab.FILE, shtab.DIRECTORY)
    answer(shtab.complete(parser, arguments.shell))
    return 0


def _prepare(parser: argparse.ArgumentParser, files: Any, folders: Any) -> None:
    """Tell shtab which arguments are files and folders, in the parser and all below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in {id(one): one for one in action.choices.values()}.values():
                _prepare(inner, files, folders)
            continue
        if isinstance(action.choices, Mapping):  # shtab takes these for subcommands
            action.choices = tuple(action.choices)
        if action.metavar in _FILES:
            action.complete = files  # type: ignore[attr-defined]
        elif action.metavar in _FOLDERS:
            action.complete = folders  # type: ignore[attr-defined]
