"""Cross-section times luminosity over the sum of weights: after the merge, whatever the chunks were."""

from __future__ import annotations

import pickle
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hist import Hist

from af_kit.data.fileset.load import load_fileset
from af_kit.errors import InputError
from af_kit.run.normalise import lumi_factors, scale_to_lumi
from af_kit.run.process import process


def analyse(events: Any) -> dict[str, Any]:
    weight = np.asarray(events.genWeight, np.float64)
    muons = ak.num(events.Muon)
    return {
        events.metadata["dataset"]: {
            "sumw": weight.sum(),
            "entries": len(events),
            "muons": Hist.new.Reg(4, 0, 4, name="n").Weight().fill(muons, weight=weight),
            "counts": {"muons": Hist.new.Reg(4, 0, 4, name="n", label="muons").Int64().fill(muons)},
            "year": str(events.metadata["year"]),
            "event": np.asarray(events.event),
        }
    }


@pytest.fixture(scope="module")
def result(fileset) -> Any:
    return process(analyse, fileset, chunk_entries=1000)


def test_the_numbers(result, fileset):
    """2 pb and 30 pb in 10 / fb are 20 000 and 300 000 events."""
    scaled = scale_to_lumi(result, load_fileset(fileset), lumi_ifb=10.0)
    for name, expected in (("signal", 20_000), ("background", 300_000)):
        before, after = result[name], scaled[name]
        factor = expected / before["sumw"]
        assert after["muons"].sum(flow=True).value == pytest.approx(expected, rel=1e-12)
        assert after["muons"].variances() == pytest.approx(before["muons"].variances() * factor**2, rel=1e-12)
        assert after["entries"] == pytest.approx(before["entries"] * factor)
        counts = before["counts"]["muons"].values()
        assert after["counts"]["muons"].values() == pytest.approx(counts * factor, rel=1e-12)
        assert after["counts"]["muons"].variances() == pytest.approx(counts * factor**2, rel=1e-12)
        assert after["counts"]["muons"].axes[0] == before["counts"]["muons"].axes[0]
        assert after["sumw"] == before["sumw"]
        assert after["year"] == "2018"
        assert after["event"] is before["event"]


@pytest.mark.parametrize("chunk_entries", [250, 777, None])
def test_it_does_not_depend_on_the_chunks(result, fileset, chunk_entries):
    other = process(analyse, fileset, chunk_entries=chunk_entries)
    mine, theirs = (scale_to_lumi(r, fileset, lumi_ifb=59.8) for r in (result, other))
    for name in ("signal", "background"):
        for field in ("value", "variance"):
            first, second = (scaled[name]["muons"].view(flow=True)[field] for scaled in (mine, theirs))
            assert first == pytest.approx(second, rel=1e-12)


def test_data_stay_as_they_are_and_the_result_is_not_changed(result, fileset):
    before = result["signal"]["muons"].copy()
    recorded = {**fileset, "background": {**fileset["background"], "metadata": {}}}
    scaled = scale_to_lumi(result, recorded, lumi_ifb=10.0, data=["background"])
    assert scaled["background"]["muons"] is result["background"]["muons"]
    assert result["signal"]["muons"] == before
    assert lumi_factors(result, recorded, lumi_ifb=10.0, data=["background"])["background"] == 1


def test_profiles():
    weighted = Hist.new.Reg(2, 0, 2).WeightedMean().fill([0.5, 0.5], sample=[1.0, 3.0], weight=[1.0, 3.0])
    plain = Hist.new.Reg(2, 0, 2).Mean().fill([0.5, 0.5], sample=[1.0, 3.0])
    fileset = {"d": {"metadata": {"xsec_pb": 1.0, "lumi_ifb": 2.0}}}
    scaled = scale_to_lumi({"d": {"sumw": 4.0, "w": weighted, "p": plain}}, fileset)["d"]
    before, after = weighted.view()[0], scaled["w"].view()[0]
    assert after.value == before.value
    assert after.variance == pytest.approx(before.variance)
    assert after.sum_of_weights == pytest.approx(before.sum_of_weights * 500)
    assert after.sum_of_weights_squared == pytest.approx(before.sum_of_weights_squared * 500**2)
    assert scaled["p"] == plain


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"xsec_pb": None}, r"dataset 'd' need xsec_pb.*data=\['d'\].*missing"),
        ({"xsec_pb": "2 pb"}, "need xsec_pb.*It is '2 pb'"),
        ({"xsec_pb": -1.0}, "need xsec_pb.*It is -1.0"),
        ({"xsec_pb": True}, "need xsec_pb"),
        ({"lumi_ifb": None}, "needs a luminosity in 1/fb.*missing"),
        ({"lumi_ifb": 0}, "needs a luminosity in 1/fb.*It is 0"),
    ],
)
def test_invalid_metadata(change, words):
    metadata = {"xsec_pb": 1.0, "lumi_ifb": 1.0, **change}
    with pytest.raises(InputError, match=words):
        scale_to_lumi({"d": {"sumw": 1.0}}, {"d": {"metadata": metadata}})


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"d": {"sum_w": 1.0}}, r"result\['d'\] has no 'sumw'.*Did you mean 'sum_w'"),
        ({"d": {"sumw": 0.0}}, "must be a positive number. It is 0.0"),
        ({"d": {"sumw": float("nan")}}, "It is nan"),
        ({"d": 3}, "has no 'sumw'"),
        ({"mass": {"sumw": 1.0}}, r"'mass', which is not a dataset of the fileset.*events.metadata\[\"dataset\"\]"),
    ],
)
def test_invalid_results(result, words):
    with pytest.raises(InputError, match=words):
        scale_to_lumi(result, {"d": {"metadata": {"xsec_pb": 1.0, "lumi_ifb": 1.0}}})


def test_data_must_be_there():
    with pytest.raises(InputError, match=r"no dataset 'SingleMoun'. Did you mean 'SingleMuon'"):
        lumi_factors({"SingleMuon": {}}, {}, data=["SingleMoun"])


def _scale(histogram):
    fileset = {"d": {"metadata": {"xsec_pb": 1.0, "lumi_ifb": 2.0}}}
    return scale_to_lumi({"d": {"sumw": 4.0, "inner": {"h": histogram}}}, fileset)["d"]["inner"]["h"]


@pytest.mark.parametrize("storage", ["Double", "Unlimited"])
def test_double_storage_has_errors_only_if_it_has_no_weights(storage):
    empty = getattr(Hist.new.Reg(2, 0, 2, name="x"), storage)
    plain = empty().fill([0.5, 0.5, 5])
    for copy in (plain, plain.copy(), pickle.loads(pickle.dumps(plain))):
        scaled = _scale(copy)
        assert scaled.values(flow=True).tolist() == [0, 1000, 0, 500]
        assert scaled.variances(flow=True).tolist() == [0, 2 * 500**2, 0, 500**2]
    weighted = empty().fill([0.5], weight=[2.0])
    set_by_hand = empty()
    set_by_hand[...] = [0.5, 1.0]
    for wrong in (weighted, pickle.loads(pickle.dumps(weighted)), weighted + plain, plain * 2, set_by_hand):
        with pytest.raises(InputError, match=rf"result\['d'\]\['inner'\]\['h'\] has {storage} storage.*\.Weight\(\)"):
            _scale(wrong)
