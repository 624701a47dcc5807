"""Pile-up weights: profiles, bins, caps, and no normalisation to the events at hand."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from cms_files import cms_file

from af_kit.corrections.pileup import Pileup
from af_kit.errors import InputError


@pytest.fixture
def write(write_root, table):
    def files(data=(2.0, 6.0, 0.0), simulation=(0.5, 0.5, 0.0)) -> tuple[Path, Path]:
        edges = list(range(len(data) + 1))
        profiles = {
            "pileup": table(edges, values=data),
            "pileup_plus": table(edges, values=[1.0, 3.0, *data[2:]]),
            "pileup_minus": table(edges, values=[3.0, 3.0, *data[2:]]),
        }
        mc = {"pu_mc": table(list(range(len(simulation) + 1)), values=simulation)}
        return write_root("data.root", profiles), write_root("mc.root", mc)

    return files


def test_the_weight_is_the_ratio_of_the_normalised_profiles(write) -> None:
    found = Pileup.load(*write()).weight(np.array([0.0, 0.99, 1.0, 1.7]))
    assert found.nominal.tolist() == [0.5, 0.5, 1.5, 1.5]  # the bin is the integer part
    assert found.variations["pileup"].up.tolist() == [0.5, 0.5, 1.5, 1.5]
    assert found.variations["pileup"].down.tolist() == [1.0, 1.0, 1.0, 1.0]


def test_a_weight_does_not_depend_on_the_chunk(write) -> None:
    pileup = Pileup.load(*write())
    events = np.array([0.0, 1.0, 1.0, 1.0])
    whole = pileup.weight(events).nominal
    assert whole.sum() != len(events)  # not normalised to these events
    np.testing.assert_array_equal(
        np.concatenate([pileup.weight(part).nominal for part in (events[:1], events[1:])]), whole
    )


def test_beyond_the_profiles_there_are_no_data(write) -> None:
    assert Pileup.load(*write()).weight(np.array([2.5, 3.0, 500.0])).nominal.tolist() == [0, 0, 0]


def test_a_cap_is_an_option(write) -> None:
    found = Pileup.load(*write(), cap=1.2).weight(np.array([0.0, 1.0]))
    assert found.nominal.tolist() == [0.5, 1.2]
    assert found.variations["pileup"].up.tolist() == [0.5, 1.2]
    with pytest.raises(InputError, match="cap must be a positive"):
        Pileup.load(*write(), cap=0.0)


def test_events_that_the_campaign_cannot_have_are_refused(write) -> None:
    pileup = Pileup.load(*write(simulation=(1.0, 0.0, 0.0)))
    assert pileup.weight(np.array([0.0])).nominal.tolist() == [0.25]
    with pytest.raises(InputError, match=r"1 events have an nTrueInt \(such as 1\.5\) that does not occur"):
        pileup.weight(np.array([0.0, 1.5]))


@pytest.mark.parametrize(("value", "message"), [(-1.0, "negative for 1 events"), (np.nan, "nTrueInt is nan")])
def test_bad_numbers_are_refused(write, value: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Pileup.load(*write()).weight(np.array([1.0, value]))


def test_profiles_must_fit(write) -> None:
    with pytest.raises(InputError, match=r"different bins: 3 in .*2 in"):
        Pileup.load(*write(simulation=(0.5, 0.5)))
    with pytest.raises(InputError, match="negative bins"):
        Pileup.load(*write(data=(2.0, -1.0, 0.0)))


def test_events_of_awkward(write) -> None:
    assert isinstance(Pileup.load(*write()).weight(ak.Array([0.0, 1.0])).nominal, ak.Array)


def test_the_real_profiles_of_2018() -> None:
    pileup = Pileup.load(cms_file("puData2018_withVar.root"), cms_file("mcPileup2018.root"))
    found = pileup.weight(np.array([0.5, 1.5, 2.5, 30.0]))
    assert found.nominal[:3] == pytest.approx([10346.3, 14.1375, 44.757], rel=1e-4)
    assert found.variations["pileup"].up[3] < found.nominal[3] < found.variations["pileup"].down[3]


@pytest.mark.parametrize(
    ("data", "simulation"),
    [("PileupData_GoldenJSON_Full2016", "pileup_profile_Summer16"), ("puData2017_withVar", "mcPileup2017")],
)
def test_the_real_profiles_keep_the_number_of_simulated_events(data: str, simulation: str) -> None:
    import uproot

    mc = uproot.open(cms_file(f"run2/pileup/{simulation}.root"))["pu_mc"].values()
    pileup = Pileup.load(cms_file(f"run2/pileup/{data}.root"), cms_file(f"run2/pileup/{simulation}.root"))
    weight = pileup.weight(np.arange(len(mc), dtype=float))
    for values in (weight.nominal, *weight.variations["pileup"]):
        assert (values * mc).sum() / mc.sum() == pytest.approx(1, abs=1e-6)
