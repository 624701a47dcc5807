"""The shape correction of b-tag discriminators: flavours, systematics, ranges; real files line by line."""

from __future__ import annotations

import gzip
import itertools
import pickle
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from cms_files import cms_file

from af_kit.corrections.btag import SYSTEMATICS, BtagShape
from af_kit.errors import InputError

REAL = ["DeepCSV_2016LegacySF_V1", "DeepCSV_94XSF_V5_B_F", "DeepCSV_102XSF_V1"]
HEADER = (
    "DeepCSV;OperatingPoint, measurementType, sysType, jetFlavor, "
    "etaMin, etaMax, ptMin, ptMax, discrMin, discrMax, formula"
)


def _lines() -> list[str]:
    """Return a file in which each type has a number of its own, also where it is not to be used."""
    lines = [HEADER, '0, comb, central, 0, -2.5, 2.5, 20, 1000, 0, 1, "0.9+log(x)"']
    for flavour in (0, 1, 2):
        names = ["central", *(f"{way}_{name}" for name, way in itertools.product(SYSTEMATICS, ("up", "down")))]
        for number, name in enumerate(names):
            value = 1 + 0.1 * (flavour + 1) + 0.001 * number
            lines += [
                f"3, iterativefit, {name}, {flavour}, 0.0, 2.5, 20, 50, -15, 0.5, {value}",
                f"3, iterativefit, {name}, {flavour}, 0.0, 2.5, 20, 50, 0.5, 1.1, ({value}+0.2*x)",
                f"3, iterativefit, {name}, {flavour}, 0.0, 2.5, 50, 10000.0, -15, 1.1, {value}*x",
            ]
    return lines


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "sf.csv.gz"
    file.write_bytes(gzip.compress("\n".join(_lines()).encode()))
    return file


def _one(shape: BtagShape, pt: float, eta: float, discriminator: float, flavour: int) -> Any:
    return shape.weight(*(np.array([value]) for value in (pt, eta, discriminator, flavour)), counts=[1])


def _number(systematic: str, way: str) -> int:
    return 1 + 2 * list(SYSTEMATICS).index(systematic) + ("up", "down").index(way)


@pytest.mark.parametrize(
    ("pt", "eta", "discriminator", "flavour", "expected"),
    [
        (30, 1.0, 0.2, 5, 1.1),
        (30, -1.0, 0.6, 5, 1.1 + 0.2 * 0.6),
        (30, 1.0, -1.0, 4, 1.2),
        (30, 1.0, 0.5, 0, 1.3 + 0.2 * 0.5),
        (30, 1.0, 0.2, 21, 1.3),  # whatever is not b or c is light
        (80, 1.0, 0.5, 5, 1.1 * 0.5),
        (5000, 1.0, 0.5, 5, 1.1 * 0.5),
        (19.9, 1.0, 0.2, 5, 1.0),  # below the file's range, and not the value at its edge
        (30, 2.4, 0.2, 5, 1.0),
        (30, -2.45, 0.2, 5, 1.0),
    ],
)
def test_the_weight_of_a_jet(
    path: Path, pt: float, eta: float, discriminator: float, flavour: int, expected: float
) -> None:
    assert _one(BtagShape.load(path), pt, eta, discriminator, flavour).nominal == pytest.approx([expected])


@pytest.mark.parametrize(("hadron_flavour", "flavour"), [(5, 0), (4, 1), (0, 2)])
def test_each_source_changes_its_flavours_and_leaves_the_others_nominal(
    path: Path, hadron_flavour: int, flavour: int
) -> None:
    """The file has numbers for all flavours; only those of the source's own flavours may be used."""
    weight = _one(BtagShape.load(path), 30, 1.0, 0.2, hadron_flavour)
    nominal = 1 + 0.1 * (flavour + 1)
    assert weight.nominal == pytest.approx([nominal])
    own = {0: {"jes", "lf", "hfstats1", "hfstats2"}, 1: {"cferr1", "cferr2"}, 2: {"jes", "hf", "lfstats1", "lfstats2"}}
    assert len(weight.variations) == 9
    for name, pair in weight.variations.items():
        for way in ("up", "down"):
            shift = 0.001 * _number(name, way) if name in own[flavour] else 0.0
            assert getattr(pair, way) == pytest.approx([nominal + shift]), (name, way)


def test_the_weight_of_an_event_is_the_product_over_its_jets(path: Path) -> None:
    shape = BtagShape.load(path)
    pt, eta = ak.Array([[30.0, 30.0, 30.0], [], [30.0]]), ak.Array([[1.0, 1.0, 2.5], [], [1.0]])
    discriminator, flavour = ak.full_like(pt, 0.2), ak.Array([[5, 0, 5], [], [4]])
    weight = shape.weight(pt, eta, discriminator, flavour)
    assert weight.nominal == pytest.approx([1.1 * 1.3, 1.0, 1.2])
    assert weight.variations["lf"].up == pytest.approx([(1.1 + 0.001 * _number("lf", "up")) * 1.3, 1.0, 1.2])
    flat = [ak.to_numpy(ak.flatten(values)) for values in (pt, eta, discriminator, flavour)]
    again = shape.weight(*flat, counts=[3, 0, 1])
    assert again.nominal.tolist() == weight.nominal.tolist()
    assert again.variations["cferr1"].down.tolist() == weight.variations["cferr1"].down.tolist()


def test_the_weight_that_moves_with_the_energy_scale(path: Path) -> None:
    shape = BtagShape.load(path)
    jets = {
        "pt": ak.Array([[30.0, 30.0], []]),
        "eta": ak.Array([[1.0, 1.0], []]),
        "discriminator": ak.Array([[0.2, 0.2], []]),
        "hadron_flavour": ak.Array([[5, 4], []]),
    }
    weight = shape.weight(*jets.values())
    for way in ("up", "down"):
        assert shape.varied("jes", way, **jets).tolist() == getattr(weight.variations["jes"], way).tolist()
    assert shape.varied("jes", "up", **jets)[0] == pytest.approx((1.1 + 0.001) * 1.2)


def test_a_variation_that_does_not_exist_is_refused(path: Path) -> None:
    shape = BtagShape.load(path)
    jets = dict.fromkeys(("pt", "eta", "discriminator", "hadron_flavour"), np.ones(1))
    with pytest.raises(InputError, match=r"no systematic source 'jes_up'.*Did you mean 'jes'"):
        shape.varied("jes_up", "up", **jets, counts=[1])
    with pytest.raises(InputError, match=r"direction='Up' is not valid.*Did you mean 'up'"):
        shape.varied("jes", "Up", **jets, counts=[1])


def test_a_weight_that_is_changed_in_place_changes_no_other(path: Path) -> None:
    weight = _one(BtagShape.load(path), 30, 1.0, 0.2, 4)  # most sources leave it nominal
    arrays = [weight.nominal, *itertools.chain.from_iterable(weight.variations.values())]
    assert not any(np.shares_memory(one, other) for one, other in itertools.combinations(arrays, 2))


def test_nan_is_refused(path: Path) -> None:
    with pytest.raises(InputError, match="discriminator are NaN"):
        _one(BtagShape.load(path), 30, 1.0, np.nan, 5)


def test_it_can_be_pickled(path: Path) -> None:
    shape = pickle.loads(pickle.dumps(BtagShape.load(path)))
    assert _one(shape, 30, 1.0, 0.2, 5).nominal == pytest.approx([1.1])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("up_cferr2, 1", "up_cferr3, 1", "lacks up_cferr2 of flavour 1"),
        ("1.1*x", "__import__('os')", "is not a formula"),
        ("1.1*x", "log(x)", "is not a polynomial"),
        ("0, 0.0, 2.5, 20, 50, -15", "0, zero, 2.5, 20, 50, -15", r"sf\.csv, line 3: could not convert"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "sf.csv"
    file.write_text("\n".join(_lines()).replace(old, new))
    with pytest.raises(InputError, match=message):
        BtagShape.load(file)


def _sample(n: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(8)
    discriminator = np.where(rng.random(n) < 0.05, -1.0, rng.random(n))
    flavour = rng.choice([0, 4, 5], n)
    return 20.1 * np.exp(rng.exponential(1.0, n)), rng.uniform(-2.39, 2.39, n), discriminator, flavour


@pytest.mark.parametrize("name", REAL)
def test_real_files_line_by_line(name: str) -> None:
    path = cms_file(f"run2/btag/{name}.btag.csv.gz")
    jets = _sample(20)
    n = len(jets[0])
    weight = BtagShape.load(path).weight(*jets, counts=np.ones(n, dtype=int))
    rows = [
        [cell.strip() for cell in line.split(",", 10)]
        for line in gzip.decompress(path.read_bytes()).decode().splitlines()
        if line.startswith("3, iterativefit")
    ]
    # an independent reading: the first line that holds, evaluated by Python

    def expected(kind: str, jet: int) -> float | None:
        pt, eta, discriminator, flavour = (values[jet] for values in jets)
        code = {5: "0", 4: "1", 0: "2"}[int(flavour)]
        for cells in rows:
            if cells[2] != kind or cells[3] != code:
                continue
            low_eta, high_eta, low_pt, high_pt, low, high = (float(cell) for cell in cells[4:10])
            at = (abs(eta), min(pt, 1000.0), discriminator)
            if low_eta <= at[0] < high_eta and low_pt <= at[1] < high_pt and low <= at[2] < high:
                return float(eval(cells[10].strip('"'), {"x": discriminator}))
        return None

    own = {"5": {"jes", "lf", "hfstats1", "hfstats2"}, "4": {"cferr1", "cferr2"}}
    for jet in range(n):
        nominal = expected("central", jet)
        assert weight.nominal[jet] == pytest.approx(nominal, rel=1e-9)
        of_jet = own.get(str(jets[3][jet]), {"jes", "hf", "lfstats1", "lfstats2"})
        for source, pair in weight.variations.items():
            for way in ("up", "down"):
                value = expected(f"{way}_{source}", jet) if source in of_jet else nominal
                assert getattr(pair, way)[jet] == pytest.approx(value, rel=1e-9), (jet, source, way)
