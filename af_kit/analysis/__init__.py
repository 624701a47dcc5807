"""Physics analyses. Each knows events and never a cluster; copy a folder to start one of your own.

    dimuon      the invariant mass of two muons, from the eta meson to the Z boson
    dsphipi     Ds -> phi(mu mu) pi: ten steps for each candidate, one candidate per event

What they share:

    output      histograms.json and candidates.parquet, the same bytes from run to run
    style       figures and labels in the CMS style
    binning     the bin edges as boost-histogram sees them, for compiled kernels
    jit         compile a kernel, also where its cache cannot be written
"""

from importlib import import_module
from types import ModuleType

__all__ = ["dimuon", "dsphipi"]


def __getattr__(name: str) -> ModuleType:
    """An analysis, imported when it is first used."""
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
