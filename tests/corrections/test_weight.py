"""Every weight has arrays of its own: what the next weight does to them changes no other, and no input."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from af_kit.corrections import lhe
from af_kit.corrections.muon_efficiency import ScaleFactor, Trigger
from af_kit.corrections.nnlops import NNLOPS
from af_kit.corrections.pileup import Pileup
from af_kit.corrections.prefiring import prefiring
from af_kit.corrections.vbf_theory import VBFTheory
from af_kit.corrections.weight import Weight
from af_kit.corrections.zpt import ZPt

Case = tuple[Callable[..., Weight], tuple[np.ndarray, ...]]


@pytest.fixture
def cases(tmp_path: Path, write_root, table) -> dict[str, Case]:
    """Each weight as a function of its inputs, which are float64 and so need no copy."""
    counts = table([0, 1, 2], values=[1.0, 3.0])
    profiles = dict.fromkeys(("pileup", "pileup_plus", "pileup_minus"), counts)
    pileup = Pileup.load(write_root("data.root", profiles), write_root("mc.root", {"pu_mc": counts}))
    factors = {"NUM_pt_abseta": table([20, 120], [0, 2.4], values=[[0.9]], errors=0.0)}
    factor = ScaleFactor.load(write_root("id.root", factors), "NUM", source="muon_id")
    efficiencies = {
        f"Mu_PtEtaBins/efficiencies{sample}/abseta_pt_{sample}": table([0, 2.4], [26, 120], values=[[0.9]])
        for sample in ("DATA", "MC")
    }
    trigger = Trigger.load(write_root("trigger.root", efficiencies), "Mu")
    vbf = {"names": ["TOT"], "acceptance": {"200": [0.0]}, "deltas": [0.0], "powheg_xsec": {"200": 1.0}}
    (tmp_path / "vbf.json").write_text(json.dumps(vbf))
    zpt = {"zpt_weights": {"2016": {"pt:[0.0,10.0]": {"value": 1.0}}}}
    (tmp_path / "zpt.json").write_text(json.dumps(zpt))
    point = np.array([0.0]), np.array([1.0])
    pairs = np.full((3, 2), 40.0), np.zeros((3, 2))
    return {
        "pileup": (pileup.weight, (np.ones(3),)),
        "muon": (factor.per_muon, (np.full(3, 40.0), np.zeros(3))),
        "event": (factor.per_event, pairs),
        "trigger": (trigger.per_event, pairs),
        "vbf": (VBFTheory.load(tmp_path / "vbf.json").weight, (np.full(3, 200.0),)),
        "zpt": (ZPt.load(tmp_path / "zpt.json", year="2016").weight, (np.ones(3),)),
        "nnlops": (NNLOPS("powheg", (point,) * 4).weight, (np.ones(3), np.ones(3))),
        "prefiring": (prefiring, (np.ones(3), np.ones(3), np.ones(3))),
        "scales": (lhe.scales, (np.ones((3, 8)),)),
        "pdf": (lhe.PDFSet("hessian", 2, has_alpha_s=True).weight, (np.ones((3, 5)),)),
    }


NAMES = ("pileup", "muon", "event", "trigger", "vbf", "zpt", "nnlops", "prefiring", "scales", "pdf")


@pytest.mark.parametrize("name", NAMES)
def test_no_array_is_shared(cases: dict[str, Case], name: str) -> None:
    weigh, inputs = cases[name]
    for array in inputs:
        array.flags.writeable = False  # writing to an input raises
    weight = weigh(*inputs)
    arrays = [weight.nominal, *itertools.chain(*weight.variations.values())]
    for one, other in itertools.combinations([*arrays, *inputs], 2):
        assert not np.shares_memory(one, other)
    before = [array.copy() for array in arrays[1:]]
    arrays[0] *= 2.0  # also: it can be written to
    for array, copy in zip(arrays[1:], before, strict=True):
        np.testing.assert_array_equal(array, copy)
    np.testing.assert_array_equal(weigh(*inputs).nominal * 2, arrays[0])  # the tables are unchanged as well


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("scales", "pdf")])
def test_awkward_and_numpy_give_the_same(cases: dict[str, Case], name: str) -> None:
    weigh, inputs = cases[name]
    flat, nested = (
        weigh(*inputs),
        weigh(*(ak.from_regular(array) if array.ndim > 1 else ak.Array(array) for array in inputs)),
    )
    assert isinstance(nested.nominal, ak.Array)
    assert ak.to_list(nested.nominal) == flat.nominal.tolist()
    for source, pair in flat.variations.items():
        assert ak.to_list(nested.variations[source].up) == pair.up.tolist()
        assert ak.to_list(nested.variations[source].down) == pair.down.tolist()
