"""The fit of test_roofit.py in RooFit, in the environment that has ROOT: ``python roofit_program.py TASK.json``.

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


if __name__ == "__main__":
    ROOT.RooMsgService.instance().setGlobalKillBelow(ROOT.RooFit.WARNING)
    print(json.dumps(fit(json.loads(Path(sys.argv[1]).read_text()))))
