"""The programs of test_root.py, for the environment that has ROOT: ``python root_programs.py PROGRAM ARGUMENTS``.

Each program is a function; the last line of the output is its result as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import ROOT

import af_kit as af
from af_kit.errors import FilesetError, InputError
from benchmarks.peers import dsphipi_rdataframe, hmumu_rdataframe, rdataframe

BOOKED = {"dsphipi": dsphipi_rdataframe.CODE, "dimuon": ""}


def book(analysis, frame):
    """Return the selected candidates (None for dimuon) and the histograms by name."""
    if analysis == "dimuon":
        multiplicity, mass = rdataframe.book(frame)
        return None, {"multiplicity": rdataframe.counts(multiplicity), "mass": rdataframe.counts(mass)}
    chosen, _, _ = dsphipi_rdataframe.book(frame)
    columns = chosen.AsNumpy(["mass", "chi2"])
    candidates = sorted(zip(columns["mass"].tolist(), columns["chi2"].tolist(), strict=True))
    return candidates, dsphipi_rdataframe.histograms(frame)


def select(analysis, fileset, workers):
    """Run the selection in RDataFrame, on this number of the kit's workers, or in this process if it is 0."""
    declare = [code for code in (BOOKED[analysis],) if code]
    if not int(workers):
        candidates, histograms = book(analysis, af.rdataframe(None, fileset, declare=declare))
    else:
        with af.connect("local", n_workers=int(workers)) as client:
            frame = af.rdataframe(client, fileset, declare=declare, npartitions=3)
            candidates, histograms = book(analysis, frame)
    return {"candidates": candidates, "histograms": histograms}


def hmumu(path):
    """Return cutflow and histograms of the H -> mu mu selection."""
    return hmumu_rdataframe.run(None, [path], "Events", None)


def everything(fileset, factor_file):
    """Send files, a token and code to a worker that joins after the data frame is created; use two clients."""

    def initialize():
        factor = float(Path(af.file("factor")).read_text())
        ROOT.gInterpreter.Declare(f"double factor() {{ return {factor}; }}")

    token = Path(factor_file).with_name("token")
    token.write_text("e30.e30.e30")
    with af.connect("local", n_workers=1) as client, af.connect("local", n_workers=1) as other:
        af.send_files(client, {"factor": factor_file})
        af.send_token(client, token)
        frame = af.rdataframe(
            client,
            fileset,
            declare='#include <cstdlib>\nint has_token() { return std::getenv("BEARER_TOKEN_FILE") != nullptr; }',
            initialize=initialize,
            npartitions=4,
        )
        client.cluster.scale(2)
        client.wait_for_workers(2, timeout=60)
        frame = frame.Define("x", "factor()").Define("token", "has_token()")
        counted, total, tokens = frame.Count(), frame.Sum("x"), frame.Min("token")
        answer = {"count": counted.GetValue(), "sum": total.GetValue(), "token": tokens.GetValue()}
        answer["tasks elsewhere"] = sum(len(keys) for keys in other.has_what().values())
    return answer


def elsewhere(fileset, folder):
    """Run on two workers that cannot see the files; return the counts and the number of copies."""
    import pytest

    sys.path.insert(0, str(Path(__file__).parents[1] / "run"))
    from elsewhere import Elsewhere

    hidden, scratch = (Path(folder, name) for name in ("hidden", "scratch"))
    scratch.mkdir()
    try:
        cluster = Elsewhere(hidden, scratch, workers=2)
    except pytest.skip.Exception as reason:
        return {"skipped": str(reason)}
    try:
        frame = af.rdataframe(cluster.client, fileset, npartitions=5)
        counted, total = frame.Count(), frame.Sum("nMuon")
        answer = {"count": counted.GetValue(), "sum": total.GetValue(), "kept": len(cluster.kept())}
        answer["machines"] = len({Path(path).relative_to(scratch).parts[0] for path in cluster.copies()})
    finally:
        cluster.close()
    return answer


def refused(fileset):
    """Return the error of each wrong call."""
    calls = {
        "code": lambda: af.rdataframe(None, fileset, declare="this is not C++"),
        "trees": lambda: af.rdataframe(None, {"a": ["a.root:one"], "b": ["b.root:two"]}),
        "workers": no_root_on_the_workers,
    }
    answers = {}
    for name, call in calls.items():
        try:
            call()
        except (InputError, FilesetError, af.errors.MissingExtraError) as error:
            answers[name] = f"{type(error).__name__}: {error}"
    return answers


def no_root_on_the_workers():
    """Call rdataframe with a worker that cannot import ROOT."""
    with af.connect("local", n_workers=1) as client:

        def hide():
            import sys

            sys.modules["ROOT"] = None  # makes the import fail

        client.run(hide)
        af.rdataframe(client, ["a.root"])


def read(path):
    """Return types and sums of the simulated ntuple."""
    frame = ROOT.RDataFrame("Tree3Mu/ntuple", path)
    names = [str(name) for name in frame.GetColumnNames()]
    sums = {
        "entries": frame.Count(),
        "mass": frame.Define("m", "Sum(Triplet2_Mass)").Sum("m"),
        "global": frame.Define("g", "Sum(Muon_isGlobal)").Sum("g"),
        "letters": frame.Define("l", "int n = 0; for (auto &s : Trigger_hltname) n += s.size(); return n;").Sum("l"),
    }
    types = {name: str(frame.GetColumnType(name)) for name in names}
    return {"types": types, **{name: result.GetValue() for name, result in sums.items()}}


def candidates(path):
    frame = ROOT.RDataFrame("candidates", path)
    columns = frame.AsNumpy(["mass", "weight", "entry", "candidate"])
    file = ROOT.TFile(path)  # keep it alive as long as its tree
    tree = file.Get("candidates")
    counts = {name: tree.GetEntries(f'dataset == "{name}"') for name in ("sample", "other")}
    return {**{name: values.tolist() for name, values in columns.items()}, "datasets": counts}


if __name__ == "__main__":
    program, *arguments = sys.argv[1:]
    answer = json.dumps(globals()[program](*arguments))
    print(f"\n{answer}")  # a new line after ROOT's progress bar
