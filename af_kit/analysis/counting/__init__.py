"""Count leptons, jets and multilepton events, as in a search for tHq: a facility's test workload.

In the order of the flow:

    process     the whole analysis of a fileset, in one call
    analyse     one chunk of events -> counts, histograms and candidates:
      select        loose, fakeable and tight leptons; jets; the channel of each event
      count         objects of each quality, and events of each channel
      fill          leptons and jets per event, and the pt of the leading lepton
      candidates    one row per event of the two channels, for pandas and Parquet
    total, summary  the counts of all datasets together, and all counts as a table of text
    plot, write     figures; counts, histograms, candidates and figures in a folder
"""

from af_kit.analysis.counting.analyse import analyse, count, fill
from af_kit.analysis.counting.candidates import candidates
from af_kit.analysis.counting.counts import summary, total
from af_kit.analysis.counting.objects import BRANCHES, BTAG, LEVELS
from af_kit.analysis.counting.plot import plot
from af_kit.analysis.counting.process import process
from af_kit.analysis.counting.select import CHANNELS, Selected, select
from af_kit.analysis.counting.write import write

__all__ = [
    "process",
    "analyse",
    "select",
    "Selected",
    "count",
    "fill",
    "candidates",
    "total",
    "summary",
    "plot",
    "write",
    "CHANNELS",
    "LEVELS",
    "BRANCHES",
    "BTAG",
]
