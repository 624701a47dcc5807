"""Ds -> phi(mu mu) pi: the normalisation channel of the search for tau -> 3 mu.

In the order of the flow:

    process     the whole analysis of a fileset, in one call
    analyse     one chunk of events -> mass, cutflow, candidates:
      masks         ten steps, each a mask with one value per candidate
      select        the candidates that pass all steps, and the best of them in each event
      cutflow       events and candidates left after each step
      fill          the mass, in every variation of the weights
      table         one row per selected candidate, for pandas, Parquet, ROOT and fits
    analyse_numba   the same analysis as one compiled loop
    load_scale_factors, weights   muon scale factors of the right year, for simulation only
    spectrum, cutflow_table       a merged result as one histogram, and as a table
    fit             the mass spectrum: two peaks over a background; an invalid fit raises
    fit_simulation  the same fit with free tails, for simulation: `fit` then fixes these tails
    plot, write     figures; figures, histograms, tables and a ROOT file in a folder
"""

from af_kit.analysis.dsphipi.analyse import analyse, cutflow, fill
from af_kit.analysis.dsphipi.fit import fit, fit_simulation
from af_kit.analysis.dsphipi.kernel import analyse_numba, select_numba
from af_kit.analysis.dsphipi.plot import plot
from af_kit.analysis.dsphipi.process import process
from af_kit.analysis.dsphipi.results import cutflow_table, spectrum
from af_kit.analysis.dsphipi.scale_factors import MuonScaleFactors, weights
from af_kit.analysis.dsphipi.scale_factors import load as load_scale_factors
from af_kit.analysis.dsphipi.select import Selected, best, masks, select
from af_kit.analysis.dsphipi.steps import STEPS, TREENAME
from af_kit.analysis.dsphipi.table import table
from af_kit.analysis.dsphipi.write import write

__all__ = [
    "process",
    "analyse",
    "analyse_numba",
    "masks",
    "select",
    "select_numba",
    "Selected",
    "best",
    "cutflow",
    "cutflow_table",
    "fill",
    "spectrum",
    "table",
    "MuonScaleFactors",
    "load_scale_factors",
    "weights",
    "fit",
    "fit_simulation",
    "plot",
    "write",
    "STEPS",
    "TREENAME",
]
