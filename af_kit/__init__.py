"""af-kit: from a fileset of ROOT files to a checked result, on a laptop or on a cluster.

The public names, in the order of the flow:

    load_fileset      which files: YAML, JSON, a dict, globs, replicas
    connect           a Dask client for the cluster that is there
    send_proxy        the X.509 proxy on every worker, whenever it comes; send_token: a bearer token
    send_files, file  corrections and any file on every worker; its path, here and there
    send_model, model a trained model on every worker; ready to use
    send_package      the user's own package on every worker
    plan, read        the chunks of the files; the events of one chunk
    process           a function over all chunks, merged, every entry accounted for
    rdataframe        ROOT's RDataFrame over the same files, on the same cluster
    Result, Report    what `process` gives: the merged output, and the account
    performance_report   a stretch of work in a folder: Dask's own report and the kit's
    doctor            what is wrong here, and what to do about it

Everything is imported when it is first used, so that ``import af_kit`` costs nothing.

Sub-packages: `af_kit.data` (files to events), `af_kit.run` (a function over chunks), `af_kit.cluster` (ways to reach
one), `af_kit.plugins` (what goes to every worker), `af_kit.analysis` (analyses to start from), `af_kit.errors`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from af_kit import analysis, corrections, errors
    from af_kit.cluster.connect import connect
    from af_kit.data.chunks import Chunk
    from af_kit.data.fileset.load import Fileset, load_fileset
    from af_kit.data.reading.flat import flat
    from af_kit.data.reading.read import read
    from af_kit.doctor.diagnose import doctor
    from af_kit.plugins.files import file, send_files, verify
    from af_kit.plugins.model import model, send_model
    from af_kit.plugins.package import send_package
    from af_kit.plugins.proxy import send_proxy
    from af_kit.plugins.tokens import send_token
    from af_kit.run.performance import performance_report
    from af_kit.run.plan import plan
    from af_kit.run.process import process
    from af_kit.run.rdataframe import rdataframe
    from af_kit.run.report import Report
    from af_kit.run.result import Result
    from af_kit.run.stage_out import stage_out

__version__ = "0.1.0"

_HOMES = {
    "load_fileset": "af_kit.data.fileset.load",
    "Fileset": "af_kit.data.fileset.load",
    "connect": "af_kit.cluster.connect",
    "send_proxy": "af_kit.plugins.proxy",
    "send_token": "af_kit.plugins.tokens",
    "send_files": "af_kit.plugins.files",
    "file": "af_kit.plugins.files",
    "verify": "af_kit.plugins.files",
    "send_model": "af_kit.plugins.model",
    "model": "af_kit.plugins.model",
    "send_package": "af_kit.plugins.package",
    "plan": "af_kit.run.plan",
    "Chunk": "af_kit.data.chunks",
    "read": "af_kit.data.reading.read",
    "flat": "af_kit.data.reading.flat",
    "process": "af_kit.run.process",
    "rdataframe": "af_kit.run.rdataframe",
    "stage_out": "af_kit.run.stage_out",
    "Result": "af_kit.run.result",
    "Report": "af_kit.run.report",
    "performance_report": "af_kit.run.performance",
    "doctor": "af_kit.doctor.diagnose",
}
_MODULES = ("analysis", "corrections", "errors")

__all__ = [
    "load_fileset",
    "Fileset",
    "connect",
    "send_proxy",
    "send_token",
    "send_files",
    "file",
    "verify",
    "send_model",
    "model",
    "send_package",
    "plan",
    "Chunk",
    "read",
    "flat",
    "process",
    "rdataframe",
    "stage_out",
    "Result",
    "Report",
    "performance_report",
    "doctor",
    "analysis",
    "corrections",
    "errors",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _MODULES:
        value = import_module(f"af_kit.{name}")
    else:
        raise AttributeError(f"module 'af_kit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
