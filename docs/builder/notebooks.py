"""The notebooks, executed on a small sample: each once, and again when it or the package is newer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from builder.pages import ROOT


def outdated(folder: Path) -> list[Path]:
    """Return the notebooks whose executed copy in a folder is missing, or older than they or the package are."""
    package = max(path.stat().st_mtime for path in (ROOT / "af_kit").rglob("*") if path.suffix in (".py", ".yaml"))

    def is_outdated(notebook: Path) -> bool:
        copy = folder / notebook.name
        return not copy.is_file() or copy.stat().st_mtime < max(package, notebook.stat().st_mtime)

    return [notebook for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")) if is_outdated(notebook)]


def execute(folder: Path, *, events: int) -> None:
    """Execute the notebooks that are outdated; their copies go to a folder, what they write to ``output`` below it.

    Parameters
    ----------
    folder : Path
        Where the copies go.
    events : int
        How many events they simulate (``AF_KIT_EVENTS``).

    Raises
    ------
    CalledProcessError
        A cell has failed; its error is on the standard error.
    """
    environment = {**os.environ, "AF_KIT_EVENTS": str(events), "AF_KIT_OUT": str(folder / "output")}
    for notebook in outdated(folder):
        print(f"executing notebooks/{notebook.name}", flush=True)
        options = ["--execute", "--to", "notebook", "--output-dir", folder, "--log-level", "WARN"]
        command = [sys.executable, "-m", "nbconvert", *options, notebook]
        subprocess.run(command, check=True, env=environment, cwd=ROOT / "notebooks")
