"""Physics analyses: functions of events, independent of any cluster. ``af-kit new`` makes one of your own.

    dimuon      the invariant mass of two muons, from the eta meson to the Z boson
    dsphipi     Ds -> phi(mu mu) pi: ten steps for each candidate, one candidate per event
    hmumu       H -> mu mu with its VBF channel: corrections, regions, channels, every systematic variation
    counting    loose, fakeable and tight leptons, jets, and events of two multilepton channels, in a table

Shared modules:

    fit         fits of one-dimensional spectra
    templates   fits of binned templates with systematic uncertainties
    output      histograms.json and candidates.parquet, identical from run to run
    save        any result in a folder: histograms, tables, values, figures
    style       figures and labels in the CMS style
    hepdata     tables for HEPData
    binning     the exact bin edges of boost-histogram, for compiled kernels
"""

from importlib import import_module
from types import ModuleType

__all__ = ["dimuon", "dsphipi", "hmumu", "counting"]


def __getattr__(name: str) -> ModuleType:
    """Import an analysis at its first use."""
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
