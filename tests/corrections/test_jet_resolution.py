"""The jet energy resolution: matching, smearing, variations; hand-computed jets, and real files."""

from __future__ import annotations

import itertools
import math
import pickle
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from cms_files import cms_file
from small_jets import FACTORS, RESOLUTION, SOURCES, write, write_json

from af_kit.corrections.jet_energy import JetUncertainties
from af_kit.corrections.jet_resolution import (
    REGIONS,
    GeneratorJet,
    JetResolution,
    jet_gaussian,
)
from af_kit.errors import InputError

# The small files: sigma = 1 / sqrt(pt), twice that for rho > 20; factors 1.2, up 1.4, down 1.1 for eta < 2, and
# 0.9, 1.0, 0.8 beyond. At a pt of 100 sigma is 0.1, so a generator jet matches within 30.


@pytest.fixture
def resolution(tmp_path: Path) -> JetResolution:
    return JetResolution.load(list(write(tmp_path, PtResolution=RESOLUTION, SF=FACTORS).values()))


def _jets(
    pt: Any = 100.0,
    gen_pt: Any = 90.0,
    *,
    eta: Any = 1.0,
    phi: Any = 0.0,
    gen_eta: Any = None,
    gen_phi: Any = None,
    rho: Any = 10.0,
    gaussian: Any = 0.5,
) -> dict[str, Any]:
    """Return the arguments of one method of smearing, of one jet unless an argument has several values."""
    gen = GeneratorJet(gen_pt, eta if gen_eta is None else gen_eta, phi if gen_phi is None else gen_phi)
    values = {"pt": pt, "eta": eta, "phi": phi, "rho": rho, "gaussian": gaussian}
    values = {name: np.atleast_1d(np.asarray(value, dtype=float)) for name, value in values.items()}
    gen = GeneratorJet(*(np.atleast_1d(np.asarray(value, dtype=float)) for value in gen))
    return {**values, "mass": values["pt"] / 10, "gen": gen}


def _pt(resolution: JetResolution, **changes: Any) -> list[float]:
    found = resolution.smeared(**_jets(**changes))
    return [float(jets.pt[0]) for jets in (found.nominal, found.up, found.down)]


def _stochastic(sigma: float, gaussian: float) -> list[float]:
    return [100 * (1 + gaussian * sigma * math.sqrt(factor**2 - 1)) for factor in (1.2, 1.4, 1.1)]


def test_a_matched_jet_is_scaled_with_its_generator_jet(resolution: JetResolution) -> None:
    assert _pt(resolution) == pytest.approx([90 + 1.2 * 10, 90 + 1.4 * 10, 90 + 1.1 * 10])
    found = resolution.smeared(**_jets())
    assert found.matched.tolist() == [True]
    assert found.up.mass[0] == pytest.approx(10.0 * 104 / 100)


@pytest.mark.parametrize("gen_pt", [0.0, -1.0, np.nan])
def test_every_way_to_say_no_generator_jet_smears_with_the_random_number(
    resolution: JetResolution, gen_pt: float
) -> None:
    """A mark that is taken for a pt would scale the jet towards 0 or -1."""
    assert _pt(resolution, gen_pt=gen_pt) == pytest.approx(_stochastic(0.1, 0.5))
    assert resolution.smeared(**_jets(gen_pt=gen_pt)).matched.tolist() == [False]


@pytest.mark.parametrize("gen_pt", [0.0, -1.0, np.nan])
def test_no_generator_jet_matches_no_jet_of_any_width(tmp_path: Path, gen_pt: float) -> None:
    wide = RESOLUTION.replace("[0]/sqrt(x)", "0.5*[0]")  # three sigmas are more than the pt
    resolution = JetResolution.load(list(write(tmp_path, PtResolution=wide, SF=FACTORS).values()))
    assert _pt(resolution, gen_pt=gen_pt) == pytest.approx(_stochastic(0.5, 0.5))


def test_none_as_generator_jet_does_not_remove_the_jet(resolution: JetResolution) -> None:
    jets = {name: ak.Array([values.tolist() * 2, []]) for name, values in _jets().items() if name != "gen"}
    gen = GeneratorJet(ak.Array([[90.0, None], []]), ak.Array([[1.0, None], []]), ak.Array([[0.0, None], []]))
    found = resolution.smeared(**jets, gen=gen)
    assert found.matched.tolist() == [[True, False], []]
    assert ak.flatten(found.nominal.pt).tolist() == pytest.approx([102.0, _stochastic(0.1, 0.5)[0]])


@pytest.mark.parametrize(
    ("changes", "matched"),
    [
        ({"gen_pt": 70.1}, True),
        ({"gen_pt": 69.9}, False),  # 3 sigma pt = 30
        ({"gen_pt": 130.1}, False),
        ({"gen_pt": 69.9, "rho": 25.0}, True),  # sigma is 0.2 there
        ({"gen_eta": 1.19}, True),
        ({"gen_eta": 1.21}, False),  # the index of the generator jet allows 0.4
        ({"gen_eta": 1.15, "gen_phi": 0.15}, False),
        ({"phi": 3.1, "gen_phi": -3.1}, True),  # across the end of phi
    ],
)
def test_a_match_needs_both_direction_and_pt(resolution: JetResolution, changes: dict, matched: bool) -> None:
    assert resolution.smeared(**_jets(**changes)).matched.tolist() == [matched]


def test_nominal_up_and_down_use_the_same_random_number(resolution: JetResolution) -> None:
    shifts = [pt / 100 - 1 for pt in _pt(resolution, gen_pt=0.0, gaussian=-0.7)]
    assert [shift / math.sqrt(f**2 - 1) for shift, f in zip(shifts, (1.2, 1.4, 1.1), strict=True)] == pytest.approx(
        [-0.07] * 3
    )


def test_up_and_down_are_those_of_the_file_whose_columns_are_nominal_down_up(resolution: JetResolution) -> None:
    found = resolution.scale_factors(np.array([100.0]), np.array([1.0]))
    assert [float(values[0]) for values in found] == [1.2, 1.4, 1.1]
    assert (found.up[0], found.down[0]) == (1.4, 1.1)


def test_where_data_are_not_wider_an_unmatched_jet_is_not_smeared(resolution: JetResolution) -> None:
    assert _pt(resolution, gen_pt=0.0, eta=3.0) == [100.0, 100.0, 100.0]
    assert _pt(resolution, eta=3.0) == pytest.approx([90 + 0.9 * 10, 90 + 1.0 * 10, 90 + 0.8 * 10])


def test_outside_the_files_a_jet_is_not_smeared(resolution: JetResolution, tmp_path: Path) -> None:
    lib = JetResolution.load(write_json(tmp_path / "jerc.json"), names=("Resolution", "ScaleFactor"))
    for each in (resolution, lib):
        assert _pt(each, eta=4.8, gen_pt=0.0) == [100.0, 100.0, 100.0]
        assert _pt(each, eta=-4.8, gen_pt=0.0) == [100.0, 100.0, 100.0]
        assert each.sigma(100.0, 4.8, 10.0) == 0.0


def test_a_rho_beyond_the_file_has_the_resolution_of_the_last_bin(resolution: JetResolution, tmp_path: Path) -> None:
    """A correctionlib file has 1 there, a resolution of 100 %."""
    lib = JetResolution.load(write_json(tmp_path / "jerc.json"), names=("Resolution", "ScaleFactor"))
    for each in (resolution, lib):
        assert each.sigma(np.array([100.0]), np.array([1.0]), np.array([55.0])).tolist() == [pytest.approx(0.2)]


def test_a_smeared_jet_keeps_a_positive_energy(resolution: JetResolution) -> None:
    found = resolution.smeared(**_jets(gen_pt=0.0, gaussian=-50.0))
    for jets in found[:3]:
        assert jets.pt[0] > 0
        assert math.hypot(jets.pt[0] * math.cosh(1.0), jets.mass[0]) == pytest.approx(0.01)


def test_text_and_correctionlib_files_give_the_same(resolution: JetResolution, tmp_path: Path) -> None:
    lib = JetResolution.load(write_json(tmp_path / "jerc.json"), names=("Resolution", "ScaleFactor"))
    rng = np.random.default_rng(4)
    pt = rng.uniform(20, 200, 300)
    jets = _jets(
        pt,
        pt * rng.normal(1, 0.2, 300),
        eta=rng.uniform(-5.2, 5.2, 300),
        rho=rng.uniform(0, 50, 300),
        phi=np.zeros(300),
        gaussian=rng.normal(size=300),
    )
    for one, other in zip(resolution.smeared(**jets)[:3], lib.smeared(**jets)[:3], strict=True):
        assert one.pt == pytest.approx(other.pt, rel=1e-12)
        assert one.mass == pytest.approx(other.mass, rel=1e-12)


def test_smearing_acts_on_the_corrected_jets_it_is_given(resolution: JetResolution, tmp_path: Path) -> None:
    """With the energy scale varied, match and resolution are those of the varied jet, not of the nominal one."""
    uncertainties = JetUncertainties.load(write(tmp_path, Sources=SOURCES)["Sources"])
    jets = _jets(gen_pt=71.0)
    assert resolution.smeared(**jets).matched.tolist() == [True]
    scale = 1 + uncertainties.relative("Absolute", jets["pt"], jets["eta"])  # 1.02
    varied = resolution.smeared(**{**jets, "pt": jets["pt"] * scale, "mass": jets["mass"] * scale})
    assert varied.matched.tolist() == [False]  # 102 - 71 = 31 > 3 sqrt(102)
    assert varied.nominal.pt[0] == pytest.approx(102 + 0.5 * math.sqrt(102) * math.sqrt(0.44))


def test_random_numbers_belong_to_the_jet_in_the_order_of_the_file() -> None:
    run, block = np.ones(2, dtype=np.uint32), np.array([1, 2], dtype=np.uint32)
    event = np.array([2**40 + 1, 7], dtype=np.uint64)
    pt = ak.Array([[30.0, 50.0, 40.0], [20.0]])
    index = ak.local_index(pt)
    numbers = jet_gaussian(run, block, event, index=index)
    assert len(set(ak.flatten(numbers).tolist())) == 4
    order = ak.argsort(pt, ascending=False)
    assert jet_gaussian(run, block, event, index=index[order]).tolist() == numbers[order].tolist()
    # counting the sorted jets instead would give a jet another number in every variation
    assert jet_gaussian(run, block, event, index=ak.local_index(pt[order])).tolist() != numbers[order].tolist()
    assert jet_gaussian(run[1:], block[1:], event[1:], index=index[1:]).tolist() == numbers[1:].tolist()


def test_variations_leave_nominal_jets_unsmeared(resolution: JetResolution) -> None:
    # one matched and one unmatched jet in each region, and one beyond all
    middle = [((low + high) / 2, 40.0 if high_pt == 50.0 else 60.0) for low, high, _, high_pt in REGIONS.values()]
    eta, pt = np.array([*middle, (5.1, 60.0)]).repeat(2, axis=0).T
    gen_pt = np.where(np.arange(len(pt)) % 2, 0.0, pt - 4.0)
    varied = resolution.variations(**_jets(pt, gen_pt, eta=eta, phi=np.zeros(len(pt))))
    assert list(varied) == list(REGIONS)
    for region, (name, pair) in enumerate(varied.items()):
        own = [2 * region, 2 * region + 1]
        others = np.delete(np.arange(len(pt)), own)
        for jets in pair:
            assert jets.pt[others].tolist() == pt[others].tolist(), name
            assert jets.mass == pytest.approx(jets.pt / 10)
        at = pt[own[0]]
        nominal, _, down = (1.2, 1.4, 1.1) if eta[own[0]] < 2 else (0.9, 1.0, 0.8)
        smeared = at * (1 + 0.5 / math.sqrt(at) * math.sqrt(max(nominal**2 - 1, 0)))
        in_file = eta[own[0]] < 4.7
        assert pair.up.pt[own] == pytest.approx([at - 4 + nominal * 4, smeared] if in_file else [at, at])
        assert pair.down.pt[own] == pytest.approx([at - 4 + 4 * down / nominal, at] if in_file else [at, at])


@pytest.mark.parametrize(
    ("eta", "pt", "region"),
    [
        (1.929, 60, "jer1"),
        (-1.93, 60, "jer2"),
        (2.5, 49.9, "jer3"),
        (2.5, 50.0, "jer4"),
        (-2.99, 60, "jer4"),
        (3.0, 49.9, "jer5"),
        (-4.6, 50.0, "jer6"),
    ],
)
def test_regions_include_their_lower_edges(resolution: JetResolution, eta: float, pt: float, region: str) -> None:
    varied = resolution.variations(**_jets(pt, pt - 4.0, eta=eta))
    assert [name for name, pair in varied.items() if pair.up.pt[0] != pt] == [region]


def test_no_two_results_share_memory(resolution: JetResolution) -> None:
    """A weight or a cut that changes one array in place must not change another variation, nor the input."""
    jets = _jets()
    found = resolution.smeared(**jets)
    varied = resolution.variations(**jets)
    results = [*found[:3], *(kinematics for pair in varied.values() for kinematics in pair)]
    arrays = [jets["pt"], jets["mass"], *itertools.chain.from_iterable(results)]
    assert not any(np.shares_memory(one, other) for one, other in itertools.combinations(arrays, 2))


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    paths = write(tmp_path, PtResolution=RESOLUTION, SF=FACTORS)
    with pytest.raises(InputError, match="one file with a Resolution and one with a ScaleFactor"):
        JetResolution.load([paths["SF"], paths["SF"]])
    with pytest.raises(InputError, match="not a resolution and its scale factors, in this order"):
        JetResolution.load(write_json(tmp_path / "jerc.json"), names=("ScaleFactor", "Resolution"))


def test_it_can_be_pickled(resolution: JetResolution) -> None:
    assert _pt(pickle.loads(pickle.dumps(resolution))) == _pt(resolution)


@pytest.mark.parametrize(
    ("tag", "eta", "expected", "last_rho"),
    [
        ("Autumn18_V7", -4.0, (1.0760, 1.2252, 1.0), 90.0),
        ("Fall17_V3", -4.0, (1.1542, 1.3066, 1.0019), 42.52),
        ("Summer16_25nsV1", -2.9, (1.7788, 1.9796, 1.578), 40.9),
    ],
)
def test_real_text_files(tag: str, eta: float, expected: tuple[float, ...], last_rho: float) -> None:
    files = [
        cms_file(f"run2/jec/{tag}_MC_{name}")
        for name in ("PtResolution_AK4PFchs.jr.txt.gz", "SF_AK4PFchs.jersf.txt.gz")
    ]
    resolution = JetResolution.load(files)
    factors = resolution.scale_factors(np.array([50.0]), np.array([eta]))
    assert tuple(float(values[0]) for values in factors) == expected
    from coffea.jetmet_tools import JetResolution as Theirs
    from coffea.lookup_tools import extractor

    weights = extractor()
    weights.add_weight_sets([f"* * {files[0]}"])
    weights.finalize()
    name = files[0].name.partition(".")[0]
    rng = np.random.default_rng(6)
    pt, etas = 15 * np.exp(rng.exponential(1.0, 1000)), rng.uniform(-4.69, 4.69, 1000)
    rho = rng.uniform(1, last_rho - 0.01, 1000)
    theirs = Theirs(**{name: weights.make_evaluator()[name]}).getResolution(JetPt=pt, JetEta=etas, Rho=rho)
    assert resolution.sigma(pt, etas, rho) == pytest.approx(np.asarray(theirs), rel=1e-5)
    # beyond, coffea returns 1: a resolution of 100 % in events with many collisions
    beyond = resolution.sigma(pt, etas, np.full(1000, last_rho + 5))
    assert beyond.tolist() == resolution.sigma(pt, etas, np.full(1000, last_rho - 0.01)).tolist()


def test_a_real_correctionlib_file() -> None:
    import correctionlib

    path = cms_file("jet_jerc_Summer22_V3.json.gz")
    names = [f"Summer22_22Sep2023_JRV1_MC_{what}_AK4PFPuppi" for what in ("PtResolution", "ScaleFactor")]
    resolution = JetResolution.load(path, names=names)
    reference = correctionlib.CorrectionSet.from_file(str(path))
    rng = np.random.default_rng(9)
    pt, eta, rho = rng.uniform(15, 300, 200), rng.uniform(-5.1, 5.1, 200), rng.uniform(1, 60, 200)
    assert resolution.sigma(pt, eta, rho).tolist() == reference[names[0]].evaluate(eta, pt, rho).tolist()
    factors = resolution.scale_factors(pt, eta)
    for values, systematic in zip(factors, ("nom", "up", "down"), strict=True):
        assert values.tolist() == reference[names[1]].evaluate(eta, pt, systematic).tolist()
    assert (factors.down < factors.nominal).all()
    assert (factors.nominal < factors.up).all()
    # beyond its last bin in rho the file itself says 1, a resolution of 100 %
    assert reference[names[0]].evaluate(0.3, 100.0, 70.0) == 1.0
    assert resolution.sigma(100.0, 0.3, 70.0) == resolution.sigma(100.0, 0.3, 60.0) < 0.2


def test_smearing_a_real_sample_gives_it_the_resolution_of_data() -> None:
    """Jets drawn with the resolution of simulation have, once smeared, the scale factor times that resolution."""
    tag = "run2/jec/Autumn18_V7_MC"
    resolution = JetResolution.load(
        [cms_file(f"{tag}_PtResolution_AK4PFchs.jr.txt.gz"), cms_file(f"{tag}_SF_AK4PFchs.jersf.txt.gz")]
    )
    n = 40_000
    eta, rho, gen_pt = np.full(n, 0.3), np.full(n, 20.0), np.full(n, 100.0)
    numbers = jet_gaussian(1, 1, np.arange(n), index=0)
    sigma = resolution.sigma(100.0, 0.3, 20.0)
    rng = np.random.default_rng(7)
    pt = gen_pt * (1 + sigma * rng.normal(size=n))
    gen = GeneratorJet(np.where(np.arange(n) % 2, gen_pt, 0.0), eta, np.zeros(n))
    jets = {"eta": eta, "phi": np.zeros(n), "rho": rho, "gen": gen, "gaussian": numbers}
    found = resolution.smeared(pt, pt / 10, **jets)
    factor = float(resolution.scale_factors(100.0, 0.3).nominal)
    for at in (np.arange(n) % 2 == 1, np.arange(n) % 2 == 0):
        width = float(np.std(found.nominal.pt[at] / 100.0))
        # the resolution is that of the smeared jet's own pt, and three sigma are cut out of the scaled jets
        assert width == pytest.approx(sigma * factor, rel=0.03)
