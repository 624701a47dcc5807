"""The H -> mu mu selection with the kit's analysis: the histograms of all peers, without the table of candidates."""

import functools

import numpy as np

import af_kit as af
from af_kit.analysis import hmumu
from af_kit.analysis.hmumu.histograms import SPLIT_CHANNELS, filled
from benchmarks.hmumu import STEPS
from benchmarks.peers.kit_awkward import session  # noqa: F401

METADATA = {"year": 2018, "isMC": False}  # events of simulation count as 1, too
NAMES = ("dimuon_mass", "dijet_mass")


def analyse(events, campaign=None):
    """Fill cutflow and histograms."""
    selection = hmumu.select(events, campaign=campaign)
    nominal = selection.passes["nominal"]
    histograms = {name: filled(name, ["nominal"], {"nominal": nominal.entry(name)}) for name in NAMES}
    return {"cutflow": selection.preselected.cutflow.events, **histograms}


def numbers(result):
    """Return the result in the format of all peers."""
    dimuon, dijet = (result[name].values(flow=True)[:-1, :-1, 0] for name in NAMES)  # no flow of the categories
    whole = [*dimuon.swapaxes(0, 1)[:-2], dimuon[:, -2] + dimuon[:, -1]]  # both parts of tth_or_vh
    return {
        "cutflow": [int(result["cutflow"][step]) for step in STEPS],
        "dimuon_mass": np.stack(whole, axis=1).ravel(),
        "dijet_mass": dijet[:, SPLIT_CHANNELS.index("vbf")].sum(axis=0),
    }


def run(client, files, treename, chunk_entries):
    fileset = {"hmumu": {"files": dict.fromkeys(files, treename), "metadata": METADATA}}
    function = functools.partial(analyse, campaign=hmumu.load_campaign("2018"))  # loaded once, as in hmumu.process
    result = af.process(function, fileset, client, chunk_entries=chunk_entries, progress=False)
    result.report.check()
    return numbers(result)
