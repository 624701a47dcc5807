"""The fits of test_roofit.py in RooFit, in the environment that has ROOT: ``python roofit_program.py TASK.json``.

The last line of the output is the result as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import ROOT

LOW, HIGH = 1.65, 2.01


def fit(task):
    """Fit two Crystal Balls and an exponential (extended) with the task's starting values and limits."""
    mass = ROOT.RooRealVar("mass", "mass", LOW, HIGH)
    variables = {}
    for name, value in task["start"].items():
        low, high = task["limits"].get(name, (None, None))
        ends = [] if low is None else [low, high or 1e7]
        variables[name] = ROOT.RooRealVar(name, name, value, *ends)
        variables[name].setConstant(name in task["fixed"])
    peaks = []
    for peak in ("ds", "dplus"):
        shape = [variables[name] for name in (f"mean_{peak}", f"width_{peak}", "alpha", "n")]
        peaks.append(ROOT.RooCBShape(peak, peak, mass, *shape))
    background = ROOT.RooExponential("background", "background", mass, variables["slope"])
    yields = [variables[f"n_{name}"] for name in ("ds", "dplus", "background")]
    model = ROOT.RooAddPdf("model", "model", ROOT.RooArgList(*peaks, background), ROOT.RooArgList(*yields))
    data, options = read(task, mass)
    result = model.fitTo(data, Extended=True, Save=True, PrintLevel=-1, Strategy=2, Offset="none", **options)
    free = result.floatParsFinal()
    found = {free.at(i).GetName(): (free.at(i).getVal(), free.at(i).getError()) for i in range(free.getSize())}
    return {
        "status": result.status(),
        "quality": result.covQual(),
        "nll": result.minNll(),
        "values": {name: value for name, (value, _) in found.items()},
        "errors": {name: error for name, (_, error) in found.items()},
    }


def read(task, mass):
    """Return the masses unbinned, or in bins; RooFit then integrates the model over the bins."""
    values = np.load(task["masses"])
    if not task["bins"]:
        return ROOT.RooDataSet.from_numpy({"mass": values}, [mass]), {}
    counts, _ = np.histogram(values, task["bins"], (LOW, HIGH))
    mass.setBins(task["bins"])
    return ROOT.RooDataHist.from_numpy(counts.astype(float), [mass]), {"IntegrateBins": 1e-6}


# ------------------------------------------------------------------------------------------------ the search for a peak


class Search:
    """Densities on 110 to 150 GeV with RooFit's own functions, and the published formula of BWZ redux."""

    def __init__(self):
        self.mass = ROOT.RooRealVar("mass", "mass", 110, 150)
        self.kept = []  # RooFit does not own what it refers to

    def keep(self, item):
        self.kept.append(item)
        return item

    def variable(self, name, value, *limits):
        return self.keep(ROOT.RooRealVar(name, name, value, *limits))

    def shape(self, kind, name, values):
        if kind == "double_crystal_ball":
            order = ("mean", "width_low", "width_high", "alpha_low", "n_low", "alpha_high", "n_high")
            return self.keep(ROOT.RooCrystalBall(name, name, self.mass, *(values[one] for one in order)))
        if kind == "exponential":
            return self.keep(ROOT.RooExponential(name, name, self.mass, values["slope"]))
        if kind.startswith("bernstein"):
            first = self.variable(f"c0_{name}", 1.0)
            others = [values[f"c{i}"] for i in range(1, int(kind[-1]) + 1)]
            return self.keep(ROOT.RooBernstein(name, name, self.mass, ROOT.RooArgList(first, *others)))
        formula = "exp(@2*@0/100 + @3*pow(@0/100, 2)) / (pow(abs(@0 - 91.2), @1) + pow(1.25, @1))"
        arguments = ROOT.RooArgList(self.mass, *(values[one] for one in ("a1", "a2", "a3")))
        return self.keep(ROOT.RooGenericPdf(name, formula, arguments))

    def constants(self, name, values):
        return {one: self.variable(f"{one}_{name}", value) for one, value in values.items()}


def densities(task):
    """Return the normalised density of each shape at the task's masses."""
    search = Search()
    mass = ROOT.RooArgSet(search.mass)
    found = {}
    for name, (kind, values) in task["shapes"].items():
        pdf = search.shape(kind, name, search.constants(name, values))
        found[name] = []
        for x in task["x"]:
            search.mass.setVal(x)
            found[name].append(pdf.getVal(mass))
    return found


def strength(task):
    """Fit all categories at once with a common signal strength; return it with its error."""
    search = Search()
    common = search.variable("strength", 1.0, -20, 20)
    sample = search.keep(ROOT.RooCategory("sample", "sample"))
    models, data = {}, {}
    for name, category in task["categories"].items():
        sample.defineType(name)
        kind, start = category["background"]
        limits = {one: category["limits"][one] for one in start}
        values = {one: search.variable(f"{one}_{name}", value, *limits[one]) for one, value in start.items()}
        parts = [
            search.shape("double_crystal_ball", f"signal_{name}", search.constants(f"s_{name}", category["signal"])),
            search.shape(kind, f"background_{name}", values),
        ]
        expected = search.variable(f"expected_{name}", category["expected"])
        signal = search.keep(ROOT.RooFormulaVar(f"n_signal_{name}", "@0*@1", ROOT.RooArgList(common, expected)))
        masses = np.load(category["masses"])
        background = search.variable(f"n_background_{name}", len(masses), 0, 1e7)
        models[name] = search.keep(
            ROOT.RooAddPdf(name, name, ROOT.RooArgList(*parts), ROOT.RooArgList(signal, background))
        )
        data[name] = search.keep(ROOT.RooDataSet.from_numpy({"mass": masses}, [search.mass]))
    together = ROOT.RooDataSet("data", "data", {search.mass}, Index=sample, Import=data)
    model = ROOT.RooSimultaneous("model", "model", models, sample)
    result = model.fitTo(together, Extended=True, Save=True, PrintLevel=-1, Strategy=2, Offset="none")
    return {
        "status": result.status(),
        "quality": result.covQual(),
        "value": common.getVal(),
        "error": common.getError(),
    }


if __name__ == "__main__":
    ROOT.RooMsgService.instance().setGlobalKillBelow(ROOT.RooFit.WARNING)
    given = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps({"fit": fit, "densities": densities, "strength": strength}[given["what"]](given)))
