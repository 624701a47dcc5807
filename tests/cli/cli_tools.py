"""Ways to run the command, and to read what it wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from af_kit.cli import main


def run(*arguments: object) -> int:
    """Run ``af-kit run dimuon`` in this process, without figures, which take most of the time."""
    return main(["run", "dimuon", *map(str, arguments), "--no-plots"])


def report_of(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def af_kit(*arguments: object, **options) -> subprocess.Popen[str]:
    """Start the command in a separate process, as a shell does."""
    command = [str(Path(sys.executable).with_name("af-kit")), *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **{**pipes, **options})
