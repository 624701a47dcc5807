"""The dimuon sample: branches of the real files, resonances at their masses, reproducible from a seed."""

import awkward as ak
import numpy as np
import pytest
import uproot

from af_kit import simulate
from af_kit.errors import InputError
from af_kit.simulate.dimuon import RESONANCES
from af_kit.simulate.kinematics import MUON_MASS

MUON = {"Muon_pt": "float", "Muon_eta": "float", "Muon_phi": "float", "Muon_mass": "float", "Muon_charge": "int32_t"}


@pytest.fixture(scope="module")
def sample(tmp_path_factory, events):
    return events(simulate.dimuon(tmp_path_factory.mktemp("sample") / "dimuon.root", 400_000, 1, compression="LZ4-1"))


# The file ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entries", [0, 1, 2500])
def test_branches_and_types_of_a_ttree(tmp_path, entries):
    with uproot.open(simulate.dimuon(tmp_path / "x.root", entries, 1)) as file:
        tree = file["Events"]
        assert tree.num_entries == entries
        assert tree.typenames() == {
            "run": "uint32_t",
            "luminosityBlock": "uint32_t",
            "event": "uint64_t",
            "nMuon": "uint32_t",
            **{name: f"{kind}[]" for name, kind in MUON.items()},
        }
        assert {tree[name].count_branch.name for name in MUON} == {"nMuon"}
        assert ak.all(tree["nMuon"].array() == ak.num(tree["Muon_pt"].array()))


@pytest.mark.parametrize("entries", [0, 1, 2500])
def test_branches_and_types_of_an_rntuple(tmp_path, entries):
    with uproot.open(simulate.dimuon(tmp_path / "x.root", entries, 1, kind="rntuple")) as file:
        tree = file["Events"]
        assert tree.num_entries == entries
        types = tree.typenames()
        assert types["nMuon"] == "std::uint32_t"
        assert types["Muon_pt"] == "std::vector<float>"
        assert list(types)[3:] == ["nMuon", *MUON]


def test_without_event_numbers(tmp_path, events):
    path = simulate.dimuon(tmp_path / "x.root", 10, 1, event_numbers=False)
    assert events(path).fields == ["nMuon", *MUON]


def test_clusters(tmp_path):
    path = simulate.dimuon(tmp_path / "x.root", 25_000, 1, cluster_entries=6_000)
    with uproot.open(path) as file:
        tree = file["Events"]
        for branch in tree.branches:
            assert branch.entry_offsets == [0, 6_000, 12_000, 18_000, 24_000, 25_000]
        assert tree.member("fAutoFlush") == 6_000  # where ROOT looks for the size of a cluster


@pytest.mark.parametrize("compression", ["none", "ZLIB-1", "ZLIB-9", "ZSTD-5", "LZ4-1", "LZMA-1"])
def test_compression(tmp_path, compression, events, same):
    path = simulate.dimuon(tmp_path / "x.root", 1000, 1, compression=compression)
    with uproot.open(path) as file:
        code = file.file.compression
        assert compression == ("none" if code is None else f"{code.name}-{code.level}")
        branch = file["Events/Muon_mass"]
        assert (branch.compressed_bytes < branch.uncompressed_bytes / 2) == (compression != "none")
    assert same(events(path), events(simulate.dimuon(tmp_path / "y.root", 1000, 1)))


# The seed ------------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_events(tmp_path, events, same):
    one = events(simulate.dimuon(tmp_path / "1.root", 30_000, 5))
    assert same(one, events(simulate.dimuon(tmp_path / "2.root", 30_000, 5)))
    assert same(one, events(simulate.dimuon(tmp_path / "3.root", 30_000, 5, cluster_entries=777)))
    assert same(one[:20_500], events(simulate.dimuon(tmp_path / "4.root", 20_500, 5)))


def test_other_seeds_and_files_are_independent(tmp_path, events):
    paths = [
        simulate.dimuon(tmp_path / f"{seed}{file}.root", 30_000, seed, file_index=file)
        for seed in (1, 2)
        for file in (0, 1)
    ]
    columns = [set(ak.to_list(ak.flatten(events(path).Muon_pt))) for path in paths]
    for i, left in enumerate(columns):
        for right in columns[:i]:
            assert len(left & right) < 0.01 * len(left)  # single precision repeats a few by chance
    # Blocks within a file too.
    pt = events(paths[0]).Muon_pt
    assert len(set(ak.to_list(ak.flatten(pt[:10_000]))) & set(ak.to_list(ak.flatten(pt[20_000:])))) < 300


# The physics ---------------------------------------------------------------------------------------------------------


def test_multiplicities_and_charges(sample):
    shares = np.bincount(ak.to_numpy(sample.nMuon), minlength=9) / len(sample)
    assert shares.argmax() == 2
    assert shares[2] == pytest.approx(0.5054, abs=0.005)
    assert np.all(shares > 0)
    assert shares[6:].sum() < 0.03
    two = sample[sample.nMuon == 2]
    assert ak.mean(ak.sum(two.Muon_charge, axis=1) == 0) == pytest.approx(0.774, abs=0.005)
    assert set(np.unique(ak.to_numpy(ak.flatten(sample.Muon_charge)))) == {-1, 1}
    assert abs(ak.mean(sample.Muon_charge)) < 0.01


def test_muons_are_sorted_and_in_the_acceptance(sample):
    assert ak.all(sample.Muon_pt[:, 1:] <= sample.Muon_pt[:, :-1])
    pt, eta, phi = (ak.to_numpy(ak.flatten(sample[f"Muon_{name}"])) for name in ("pt", "eta", "phi"))
    assert np.all(pt > 2)
    assert np.all(np.abs(eta) < 2.4)
    assert np.all(np.abs(phi) <= np.float32(np.pi))
    assert np.unique(ak.to_numpy(ak.flatten(sample.Muon_mass))) == np.float32(MUON_MASS)
    # Falling: each octave holds fewer muons than the one below, but for those of the Z near 45 GeV.
    octaves = np.histogram(pt, [4, 8, 16, 32])[0]
    assert np.all(octaves[1:] < octaves[:-1])
    assert np.histogram(pt, [60, 120, 240])[0][1] < 0.2 * np.histogram(pt, [60, 120, 240])[0][0]
    # The detector sees forward and backward, and all azimuths, alike.
    assert np.mean(eta > 0) == pytest.approx(0.5, abs=0.005)
    assert np.histogram(phi, 8, (-np.pi, np.pi))[0] / len(phi) == pytest.approx(1 / 8, abs=0.003)


# Where each peak is, and where there is only continuum on its left and right, in GeV.
WINDOWS = {
    "eta": ((0.537, 0.559), (0.49, 0.53), (0.57, 0.60)),
    "rho": ((0.70, 0.76), (0.58, 0.62), (1.08, 1.20)),
    "omega": ((0.765, 0.80), (0.72, 0.75), (0.82, 0.85)),
    "phi": ((0.995, 1.045), (0.93, 0.97), (1.07, 1.12)),
    "J/psi": ((3.02, 3.17), (2.7, 2.9), (3.3, 3.5)),
    "psi(2S)": ((3.60, 3.77), (3.3, 3.5), (3.9, 4.1)),
    "Upsilon(1S)": ((9.3, 9.62), (8.8, 9.1), (9.7, 9.78)),
    "Upsilon(2S)": ((9.93, 10.12), (9.7, 9.78), (10.6, 10.8)),
    "Upsilon(3S)": ((10.28, 10.44), (9.7, 9.78), (10.6, 10.8)),
    "Z": ((86, 96), (70, 75), (115, 125)),
}


@pytest.mark.parametrize("resonance", RESONANCES, ids=lambda resonance: resonance.name)
def test_every_resonance_stands_out_of_the_continuum(sample, resonance, masses):
    mass = masses(sample)
    (low, high), *sides = WINDOWS[resonance.name]
    peak = mass[(low < mass) & (mass < high)]
    density = np.mean([((left < mass) & (mass < right)).sum() / (right - left) for left, right in sides])
    continuum = density * (high - low)
    assert len(peak) - continuum > 4 * np.sqrt(len(peak) + continuum)
    if resonance.name != "rho":  # which only widens the foot of the omega
        assert np.median(peak) == pytest.approx(resonance.mass, rel=0.004)


def test_heights_of_the_peaks(sample, masses):
    counts, edges = np.histogram(masses(sample), np.geomspace(0.2, 200, 1001))
    height = {
        resonance.name: counts[np.searchsorted(edges, resonance.mass) + np.arange(-4, 4)].max()
        for resonance in RESONANCES
    }
    assert max(height, key=height.get) == "J/psi"
    assert 0.2 < height["Z"] / height["J/psi"] < 1
    assert height["J/psi"] > 5 * height["psi(2S)"]
    assert height["Z"] > 20 * counts[np.searchsorted(edges, 70)]


def test_the_upsilons_are_resolved(sample, masses):
    mass = masses(sample)
    number = {at: (abs(mass - at) < 0.06).sum() for at in (9.46, 9.75, 10.023, 10.19, 10.355, 10.7)}
    assert number[9.46] > number[10.023] > number[10.355]
    assert number[9.75] < 0.6 * number[10.023]
    assert number[10.19] < 0.8 * number[10.355]
    assert number[10.7] < 0.7 * number[10.355]


def test_resolution(sample, masses):
    mass = masses(sample)
    for at, low, high in [(3.0969, 0.020, 0.045), (91.188, 1.5, 3.5)]:
        near = mass[abs(mass - at) < 0.05 * at]
        width = np.diff(np.quantile(near, [0.16, 0.84]))[0] / 2
        assert low < width < high


def test_pairs_of_equal_charge_have_no_peaks(sample, masses):
    mass = masses(sample, opposite=False)
    for at in (3.0969, 9.46, 91.188):
        near, below, above = ((abs(mass - at * scale) < 0.02 * at).sum() for scale in (1, 0.93, 1.07))
        assert abs(near - (below + above) / 2) < 5 * np.sqrt(near)


# The wide file -------------------------------------------------------------------------------------------------------


# Arguments -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"entries": -1}, "entries=-1"),
        ({"entries": 1.5}, "entries=1.5"),
        ({"entries": True}, "entries=True"),
        ({"entries": "10"}, "entries='10'"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": None}, "seed=None"),
        ({"file_index": -1}, "file_index=-1"),
        ({"cluster_entries": 0}, "cluster_entries=0"),
        ({"compression": "ZLIB"}, "ZLIB-1 to ZLIB-9"),
        ({"compression": "ZSTD-99"}, "ZSTD-1 to ZSTD-22"),
        ({"compression": "GZIP-1"}, "'GZIP-1'"),
        ({"kind": "tree"}, "Did you mean 'ttree'?"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, named):
    with pytest.raises(InputError) as caught:
        simulate.dimuon(tmp_path / "x.root", **{"entries": 1, "seed": 1, **arguments})
    assert named in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Cannot write"):
        simulate.dimuon(tmp_path / "file/x.root", 1, 1)


# Several files -------------------------------------------------------------------------------------------------------
