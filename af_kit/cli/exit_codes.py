"""What the exit codes of all commands mean: one table for the help texts, for docs/exit-codes.md and for its test."""

from __future__ import annotations

import textwrap

__all__ = ["EXIT_CODES", "epilog"]

_ERROR = "an unexpected error, or a file that cannot be written"
_WRONG = "a wrong command line or input"
_INTERRUPTED = "interrupted"

EXIT_CODES: dict[str, dict[int, str]] = {
    "new": {0: "the files are written", 2: "a wrong command line, or a folder that exists or cannot be written"},
    "run": {
        0: "all entries were processed",
        1: "some entries failed: the others are in the output, and report.json lists the failures; or a figure or "
        "another step after the merge failed, or an unexpected error occurred",
        2: "a wrong command line or input, a cluster that does not answer, or no file that can be opened: nothing is "
        "written",
        130: "interrupted (Ctrl-C, SIGTERM): the entries processed until then are in the output",
    },
    "simulate": {0: "the files are written", 1: _ERROR, 2: _WRONG, 130: _INTERRUPTED},
    "train": {
        0: "the network is written",
        1: f"the training failed; or {_ERROR}",
        2: f"{_WRONG}, or keras or onnx is not installed",
        130: _INTERRUPTED,
    },
    "fit": {
        0: "all fits are valid",
        1: "a fit is not valid: fit.json has the reasons; or an unexpected error occurred",
        2: f"{_WRONG}, such as a folder without results",
        130: _INTERRUPTED,
    },
    "bench": {
        0: "all points were measured",
        1: "some points failed: the others are in the output, and bench.json lists the failures; or an unexpected "
        "error occurred",
        2: f"{_WRONG}, a running scheduler that does not answer, or a package that a workload needs is not installed",
        130: "interrupted: the points measured until then are in the output",
    },
    "cluster": {
        0: "done; `start` without --detach: the cluster has ended",
        1: _ERROR,
        2: "a wrong command line or input, no cluster of this name, or a cluster that cannot be started or reached",
        130: "interrupted while the cluster was being started",
    },
    "worker": {
        0: "the worker was stopped",
        1: "the worker failed",
        2: "no scheduler answered in time, or the command line is wrong; stderr has the reason",
    },
    "lab": {
        0: "done; the lab has ended",
        1: _ERROR,
        2: "a wrong command line or input, a job that was refused, or a lab that cannot be reached",
        130: "interrupted: the lab was cancelled, unless --detach",
    },
    "doctor": {
        0: "no problems, perhaps warnings",
        1: "problems",
        2: "a wrong command line, or the scheduler does not answer",
        130: _INTERRUPTED,
    },
    "completion": {0: "the script is on stdout", 2: "a wrong command line"},
}
"""Command to exit code to meaning."""


def epilog(command: str) -> str:
    """Return the exit codes of a command for the end of its help."""
    rows = []
    for code, meaning in EXIT_CODES[command].items():
        rows.append(textwrap.fill(meaning, 90, initial_indent=f"  {code:>3}  ", subsequent_indent=" " * 7))
    return "\nexit codes:\n" + "\n".join(rows) + "\n"
