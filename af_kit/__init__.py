"""af-kit: from a fileset of ROOT files to a checked result, on a laptop or on a cluster.

The public names, in the order in which an analysis uses them:

    write_files       simulated samples, if there is no network
    load_fileset      the files of each dataset (`Fileset`): from YAML, JSON, a dict or globs, with replicas
    connect           a Dask client of a running cluster or of a new one
    send_proxy        the X.509 proxy on every worker, including those that join later; send_token: a bearer token
    send_files, file  corrections and other files on every worker; the path of one, here and on the workers
    verify_files      whether the files on every worker are unchanged
    send_model, model a trained model on every worker; ready for inference
    send_package      the user's own Python package on every worker
    plan, read        the chunks of a fileset; the events of one chunk (`Chunk`)
    flat              the offsets and values of a jagged collection, for compiled kernels
    process           a function over all chunks, merged, with every entry accounted for
    rdataframe        ROOT's RDataFrame over the same files, on the same cluster
    Result, Report    what `process` returns: the merged output, and the entry counts, failures and rates
    scale_to_lumi     histograms of simulation scaled to a luminosity, after the merge
    stage_out         one output file per chunk, written by the workers; write_manifest, read_manifest: list them
    performance_report   Dask's and the kit's reports about a block of code, in a folder
    doctor            what is wrong with this session, its site or its cluster, and what to do about it

Every name is imported when it is first used, so ``import af_kit`` is fast.

Sub-packages: `af_kit.data` (files to events), `af_kit.run` (a function over chunks), `af_kit.cluster` (start and reach
clusters), `af_kit.plugins` (send things to every worker), `af_kit.corrections` (corrections of events),
`af_kit.analysis` (analyses to start from), `af_kit.errors` (all exceptions).
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
    from af_kit.plugins.files import file, send_files, verify_files
    from af_kit.plugins.model import model, send_model
    from af_kit.plugins.package import send_package
    from af_kit.plugins.proxy import send_proxy
    from af_kit.plugins.tokens import send_token
    from af_kit.run.normalise import scale_to_lumi
    from af_kit.run.performance import performance_report
    from af_kit.run.plan import plan
    from af_kit.run.process import process
    from af_kit.run.rdataframe import rdataframe
    from af_kit.run.report import Report
    from af_kit.run.result import Result
    from af_kit.run.stage_out import read_manifest, stage_out, write_manifest
    from af_kit.simulate.files import write_files

__version__ = "0.2.0"

_MODULE_OF = {
    "write_files": "af_kit.simulate.files",
    "load_fileset": "af_kit.data.fileset.load",
    "Fileset": "af_kit.data.fileset.load",
    "connect": "af_kit.cluster.connect",
    "send_proxy": "af_kit.plugins.proxy",
    "send_token": "af_kit.plugins.tokens",
    "send_files": "af_kit.plugins.files",
    "file": "af_kit.plugins.files",
    "verify_files": "af_kit.plugins.files",
    "verify": "af_kit.plugins.files",  # deprecated: an older name of verify_files
    "send_model": "af_kit.plugins.model",
    "model": "af_kit.plugins.model",
    "send_package": "af_kit.plugins.package",
    "plan": "af_kit.run.plan",
    "Chunk": "af_kit.data.chunks",
    "read": "af_kit.data.reading.read",
    "flat": "af_kit.data.reading.flat",
    "process": "af_kit.run.process",
    "rdataframe": "af_kit.run.rdataframe",
    "Result": "af_kit.run.result",
    "Report": "af_kit.run.report",
    "scale_to_lumi": "af_kit.run.normalise",
    "stage_out": "af_kit.run.stage_out",
    "write_manifest": "af_kit.run.stage_out",
    "read_manifest": "af_kit.run.stage_out",
    "performance_report": "af_kit.run.performance",
}
_SUBPACKAGES = ("doctor", "analysis", "corrections", "errors")  # `doctor` can be called: see its file

__all__ = [
    "write_files",
    "load_fileset",
    "Fileset",
    "connect",
    "send_proxy",
    "send_token",
    "send_files",
    "file",
    "verify_files",
    "send_model",
    "model",
    "send_package",
    "plan",
    "Chunk",
    "read",
    "flat",
    "process",
    "rdataframe",
    "Result",
    "Report",
    "scale_to_lumi",
    "stage_out",
    "write_manifest",
    "read_manifest",
    "performance_report",
    "doctor",
    "analysis",
    "corrections",
    "errors",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = getattr(import_module(_MODULE_OF[name]), name)
    elif name in _SUBPACKAGES:
        value = import_module(f"af_kit.{name}")
    else:
        raise AttributeError(f"module 'af_kit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
