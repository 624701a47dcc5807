"""What a run leaves: data and simulation apart, fits that are valid, the points of the figures."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from af_kit import simulate
from af_kit.analysis.dsphipi import plot, process, spectrum, write
from af_kit.analysis.dsphipi.final import fits, write_fits
from af_kit.analysis.dsphipi.parts import parts
from af_kit.analysis.fit import FitResult
from af_kit.errors import FitError

pytestmark = pytest.mark.filterwarnings("ignore:.*muon scale factors")


@pytest.fixture(scope="session")
def both(tmp_path_factory):
    """Data of two eras and simulation, in one result."""
    folder = tmp_path_factory.mktemp("both")
    fileset = {}
    for kind, era, events in (("data", "2017B", 12_000), ("data", "2017C", 12_000), ("mc", "2017B", 40_000)):
        path = simulate.dsphipi(folder / f"{kind}_{era}.root", events, 3, kind=kind, era=era)
        metadata = {"isMC": kind == "mc", "era": era, "sqrt_s_TeV": 13}
        fileset[f"{kind}_{era}"] = {"files": [str(path)], "metadata": metadata}
    scale_factors = simulate.muon_scale_factors(folder / "muon_Run2017_ID.json")
    return process(fileset, engine="numba", muon_sf=scale_factors)


@pytest.fixture(scope="session")
def data(both):
    return parts(both)["data"]


def test_data_and_simulation_are_never_added_up(both):
    pieces = parts(both)
    assert both["simulated"] == {"mc_2017B": 40_000}
    assert list(pieces) == ["data", "simulation"]
    assert list(pieces["data"]["mass"].axes["dataset"]) == ["data_2017B", "data_2017C"]
    for kind, piece in pieces.items():
        rows = piece["candidates"]
        names = set(rows["dataset"].to_pylist())
        assert names == {
            name for name in both["mass"].axes["dataset"] if name.startswith(kind[:1] if kind == "data" else "mc")
        }
        inside = np.histogram(rows["mass"], 62, (1.65, 2.01), weights=rows["weight"])[0].sum()
        assert spectrum(piece).sum().value == pytest.approx(inside, abs=1)
        assert piece["cutflow"].sum() > 0
    assert sum(piece["candidates"].num_rows for piece in pieces.values()) == both["candidates"].num_rows
    assert sum(piece["cutflow"].sum() for piece in pieces.values()) == both["cutflow"].sum()


def test_one_kind_alone_is_the_result_itself(data):
    assert parts(data) == {"data": data}


def test_the_tails_of_the_data_are_those_of_the_simulation(both, data):
    found = fits(both)
    assert isinstance(found["simulation"], FitResult)
    assert {"alpha", "n"} <= set(found["simulation"].free)
    assert found["data"].fixed == {name: found["simulation"].values[name] for name in ("alpha", "n")}
    assert abs(found["data"]["mean_ds"].value - 1.96835) < 4 * found["data"]["mean_ds"].error
    assert fits(data)["data"].fixed == {"alpha": 1.6, "n": 3.0}


def test_a_run_writes_its_fits_and_figures(both, tmp_path):
    files = write(both, tmp_path, metadata={"sqrt_s_TeV": 13})
    names = {str(file.relative_to(tmp_path)) for file in files}
    small = {"scale_factors.json"}  # a few counts
    assert all(file.stat().st_size > 200 for file in files if file.name not in small)
    for figure in ("mass", "fit", "cutflow", "kinematics"):
        for suffix in ("", "_simulation"):
            assert {f"plots/{figure}{suffix}.png", f"plots/{figure}{suffix}.pdf"} <= names
    # only simulation is weighted
    assert {"plots/scale_factors_simulation.png"} == {
        name for name in names if "scale_factors" in name and "png" in name
    }
    assert {"fit.json", "fit_simulation.json", "hepdata/submission.yaml"} <= names
    assert FitResult.read(tmp_path / "fit.json").to_dict() == fits(both)["data"].to_dict()
    assert pq.read_table(tmp_path / "candidates.parquet").num_rows == both["candidates"].num_rows


def test_the_points_are_those_of_the_spectrum_and_of_the_fit(both, data, tmp_path):
    write(both, tmp_path, metadata={"sqrt_s_TeV": 13, "lumi_ifb": 14.37}, plots=False)
    _, *tables = yaml.safe_load_all((tmp_path / "hepdata/submission.yaml").read_text())
    assert [table["name"] for table in tables] == [
        *("Mass spectrum", "Fit parameters", "Selection"),
        *("Mass spectrum simulation", "Fit parameters simulation", "Selection simulation"),
    ]
    content = yaml.safe_load((tmp_path / "hepdata/mass_spectrum.yaml").read_text())
    columns = {column["header"]["name"]: column for column in content["dependent_variables"]}
    assert {"name": "LUMINOSITY [fb^-1]", "value": 14.37} in columns["Candidates"]["qualifiers"]
    values = {name: np.array([point["value"] for point in column["values"]]) for name, column in columns.items()}
    assert {error["label"] for point in columns["Candidates"]["values"] for error in point["errors"]} == {"stat"}
    varied = yaml.safe_load((tmp_path / "hepdata/mass_spectrum_simulation.yaml").read_text())["dependent_variables"][0]
    assert [error["label"] for error in varied["values"][0]["errors"]] == ["stat", "muon scale factors"]
    assert values["Candidates"] == pytest.approx(spectrum(data).values())
    assert values["Fit"] == pytest.approx(
        sum(values[f"Fit, {name}"] for name in ("ds", "dplus", "background")), rel=1e-4
    )
    assert values["Fit"].sum() == pytest.approx(values["Candidates"].sum(), rel=1e-3)
    parameters = yaml.safe_load((tmp_path / "hepdata/fit_parameters.yaml").read_text())
    value, status = parameters["dependent_variables"]
    labels = [[error["label"] for error in point.get("errors", [])] for point in value["values"]]
    assert [point["value"] for point in status["values"]].count("fixed") == 2
    assert labels.count([]) == 2
    assert all(label in ([], ["parabolic", "Minos"]) for label in labels)


def test_an_invalid_fit_is_said_and_not_drawn(data, tmp_path):
    """A flat spectrum has no peaks."""
    few = {**data, "mass": data["mass"] * 0}
    few["mass"].view(flow=True)["value"][:, 0, 1:63] = 1
    few["mass"].view(flow=True)["variance"][:, 0, 1:63] = 1
    with pytest.warns(UserWarning, match="no fit of the data, and no figure of one: The fit is not valid"):
        files = write(few, tmp_path)
    names = {file.name for file in files}
    assert "mass.png" in names
    assert not {"fit.png", "fit.pdf", "fit_parameters.yaml"} & names
    written = json.loads((tmp_path / "fit.json").read_text())
    assert written["valid"] is False
    assert written["at_limit"]
    with pytest.raises(FitError, match="not valid"):
        FitResult.read(tmp_path / "fit.json")


def test_hardly_any_candidates_are_not_fitted(data, tmp_path):
    empty = {**data, "mass": data["mass"] * 0}
    with pytest.warns(UserWarning, match="0 candidates between 1.65 and 2.01 GeV are too few for a fit"):
        write_fits(fits(empty), tmp_path)
    assert not [file for file in plot(empty, tmp_path / "plots") if file.stem == "fit"]


def test_the_command_says_that_a_fit_is_not_valid(tmp_path, capsys):
    from af_kit.cli import main

    path = simulate.dsphipi(tmp_path / "few.root", 1500, 3)
    assert main(["run", "dsphipi", str(path), "--out", str(tmp_path / "out"), "--no-plots"]) == 0
    assert "af-kit: warning: no fit of the data, and no figure of one" in capsys.readouterr().err
    assert json.loads((tmp_path / "out/fit.json").read_text())["valid"] is False
    assert "fit.json" in json.loads((tmp_path / "out/report.json").read_text())["outputs"]
