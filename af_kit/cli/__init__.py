"""The command ``af-kit``; one file per subcommand."""

from af_kit.cli.command import main

__all__ = ["main"]
