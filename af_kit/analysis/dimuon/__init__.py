"""The dimuon spectrum: how many muons an event has, and the mass of its two muons.

In the order of the flow:

    process     the whole analysis of a fileset, in one call
    analyse     one chunk of events -> histograms and candidates:
      select        events with exactly two muons of opposite charge
      fill          the histograms of multiplicity and mass
      table         one row per candidate, for pandas, Parquet and fits
    analyse_numba   the same analysis as one compiled loop
    plot, write     figures; figures, histograms and candidates in a folder

``histograms`` and ``histograms_numba`` fill the histograms only, without the table of candidates.
"""

from af_kit.analysis.dimuon.analyse import analyse, empty, fill, histograms
from af_kit.analysis.dimuon.kernel import analyse_numba, histograms_numba
from af_kit.analysis.dimuon.plot import plot, write
from af_kit.analysis.dimuon.process import process
from af_kit.analysis.dimuon.select import pair_mass, select
from af_kit.analysis.dimuon.table import table, z_window

__all__ = [
    "process",
    "analyse",
    "analyse_numba",
    "histograms",
    "histograms_numba",
    "select",
    "pair_mass",
    "empty",
    "fill",
    "table",
    "z_window",
    "plot",
    "write",
]
