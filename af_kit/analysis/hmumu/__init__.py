"""H -> mu mu with its VBF channel: the selection of the full Run 2 analysis, with corrections and every variation.

In the order of the flow:

    process     the whole analysis of a fileset in one call: check, select, merge, normalise
    load_campaign, Campaign            the constants of a year: cuts, working points, luminosity, names of files
    load_calibrations, Calibrations    the corrections, each with a switch (CORRECTIONS)
    analyse     one chunk of events -> histograms, cutflow, candidates
    select      the selected events of a chunk in every variation (Selection, Pass)
    REGIONS, CHANNELS                  by dimuon mass; by jets and b tags
    Factors     what multiplies the weights of a dataset, found after the merge
    spectrum, groups, yields           sums over datasets, regions and channels
    cutflow_table, efficiency_table    events left by each step
    train, Training                    networks for each fold of the events, from the selected events
    load_network, Network              score events with them: `process` with network=
    plot, compare, write, read         figures; everything in a folder, and read back
    build_templates, Templates         the model of the template fit, of one year or several
    fit_templates, HMuMuFit, write_model       its fit, significance, limit; workspace and datacards
    fit_shapes, ShapeFit, plot_shapes  the fit of the dimuon mass by functions, in four channels at once
"""

from af_kit.analysis.hmumu.analyse import Pass, Selection, analyse, select
from af_kit.analysis.hmumu.calibrations import CORRECTIONS, Calibrations, load_calibrations
from af_kit.analysis.hmumu.campaign import CAMPAIGNS, Campaign, load_campaign
from af_kit.analysis.hmumu.network import Training, train
from af_kit.analysis.hmumu.normalise import Factors
from af_kit.analysis.hmumu.plot import compare, plot
from af_kit.analysis.hmumu.preselection import STEPS
from af_kit.analysis.hmumu.process import add_options, process
from af_kit.analysis.hmumu.read import read
from af_kit.analysis.hmumu.regions import CHANNELS, REGIONS
from af_kit.analysis.hmumu.results import cutflow_table, efficiency_table, groups, spectrum, summary, yields
from af_kit.analysis.hmumu.sample import GROUPS, PROCESSES
from af_kit.analysis.hmumu.score import Network, load_network
from af_kit.analysis.hmumu.shape_fit import ShapeFit, fit_shapes
from af_kit.analysis.hmumu.shape_plot import plot_shapes
from af_kit.analysis.hmumu.template_fit import HMuMuFit, fit_templates, write_model
from af_kit.analysis.hmumu.templates import Templates, build_templates
from af_kit.analysis.hmumu.write import write

__all__ = [
    "process",
    "add_options",
    "CAMPAIGNS",
    "Campaign",
    "load_campaign",
    "CORRECTIONS",
    "Calibrations",
    "load_calibrations",
    "analyse",
    "select",
    "Selection",
    "Pass",
    "STEPS",
    "REGIONS",
    "CHANNELS",
    "Factors",
    "GROUPS",
    "PROCESSES",
    "groups",
    "spectrum",
    "yields",
    "cutflow_table",
    "efficiency_table",
    "summary",
    "train",
    "Training",
    "load_network",
    "Network",
    "plot",
    "compare",
    "write",
    "read",
    "build_templates",
    "Templates",
    "fit_templates",
    "HMuMuFit",
    "write_model",
    "fit_shapes",
    "ShapeFit",
    "plot_shapes",
]
