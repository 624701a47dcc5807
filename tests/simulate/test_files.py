"""Several files of a sample, and of several eras."""

import inspect

import awkward as ak
import pytest
import uproot

from af_kit import simulate
from af_kit.errors import InputError
from af_kit.simulate.dsphipi import LUMI_IFB, TREENAME


def test_files_share_the_events(tmp_path, events):
    paths = simulate.write_files("dimuon", tmp_path / "new", 1001, files=11, seed=3)
    assert [path.name for path in paths] == [f"dimuon_{index:02d}.root" for index in range(11)]
    read = [events(path) for path in paths]
    assert [len(part) for part in read] == [91] * 11
    together = ak.concatenate(read)
    numbers = set(zip(*(ak.to_list(together[name]) for name in ("run", "luminosityBlock", "event")), strict=True))
    assert len(numbers) == 1001
    assert [len(events(path)) for path in simulate.write_files("dimuon", tmp_path / "odd", 5, files=3)] == [2, 2, 1]


def test_one_file_of_many_is_the_same_alone(tmp_path, events, same):
    paths = simulate.write_files("dimuon", tmp_path, 300, files=3, seed=3, compression="ZSTD-1")
    assert same(events(paths[2]), events(simulate.dimuon(tmp_path / "x.root", 100, 3, file_index=2)))


def test_files_of_an_earlier_sample_are_not_mixed_in(tmp_path):
    simulate.write_files("dimuon", tmp_path, 10, files=3)
    with pytest.raises(InputError, match=r"dimuon_2\.root"):
        simulate.write_files("dimuon", tmp_path, 10, files=2)
    simulate.write_files("dimuon", tmp_path, 10, files=3, seed=2)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"name": "dimoun"}, "Did you mean 'dimuon'?"),
        ({"files": 0}, "files=0"),
        ({"events": -1}, "events=-1"),
        ({"compresion": "none"}, "Did you mean 'compression'?"),
    ],
)
def test_wrong_arguments_for_several_files(tmp_path, arguments, named):
    with pytest.raises(InputError) as caught:
        simulate.write_files(**{"name": "dimuon", "folder": tmp_path, "events": 1, **arguments})
    assert named in str(caught.value)


@pytest.mark.parametrize("name", simulate.SAMPLES)
def test_every_sample_takes_the_same_options(name, tmp_path):
    parameters = inspect.signature(simulate.SAMPLES[name]).parameters
    assert list(parameters)[:3] == ["path", "entries", "seed"]
    assert {"file_index", "cluster_entries", "compression", "kind"} <= set(parameters)
    assert getattr(simulate, name) is simulate.SAMPLES[name]
    (path,) = simulate.write_files(name, tmp_path, 3)
    with uproot.open(path) as file:
        assert file["Tree3Mu/ntuple" if name == "dsphipi" else "Events"].num_entries == 3


def test_eras_share_the_events_by_luminosity(tmp_path):
    paths = simulate.write_eras(tmp_path, 41_470)
    entries = {era: uproot.open(files[0])[TREENAME].num_entries for era, files in paths.items()}
    assert entries == {era: round(1000 * lumi) for era, lumi in LUMI_IFB.items()}


def test_files_of_eras(tmp_path):
    assert list(simulate.write_eras(tmp_path / "a", 100, 2)) == ["2017B", "2017C"]
    paths = simulate.write_eras(tmp_path / "b", 100, 3, eras=["2017F", "2017B"])
    assert [path.name for files in paths.values() for path in files] == [
        "dsphipi_2017F_0.root",
        "dsphipi_2017F_1.root",
        "dsphipi_2017B_0.root",
    ]
    with pytest.raises(InputError, match="1 file"):
        simulate.write_eras(tmp_path / "c", 100, 1, eras=["2017F", "2017B"])
    with pytest.raises(InputError, match="already contains"):
        simulate.write_eras(tmp_path / "b", 100, 1)
