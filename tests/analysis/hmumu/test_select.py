"""The selection, event by event, against `reference`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

from af_kit import plan, read
from af_kit.analysis import hmumu
from af_kit.errors import InputError
from af_kit.simulate import nanoaod
from tests.analysis.hmumu import reference

ENTRIES = 20_000


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nanoaod(tmp_path_factory.mktemp("hmumu") / "mixture.root", ENTRIES, 7, cluster_entries=3_000)


def rows(path: Path, year: int, **options: Any) -> Any:
    fileset = {"data": {"files": {str(path): "Events"}, "metadata": {"year": year, "isMC": False}}}
    with pytest.warns(UserWarning, match="no golden JSON"):
        result = hmumu.process(fileset, corrections="none", progress=False, **options)
    result.report.check()
    return result["candidates"].to_pandas()


@pytest.mark.parametrize("year", [2016, 2017, 2018])
def test_every_event_is_that_of_the_reference(mixture: Path, year: int) -> None:
    expected, found = reference.select(mixture, year), rows(mixture, year)
    assert len(expected) > 1000
    assert found["event"].tolist() == [row["event"] for row in expected]
    for name in ("region", "channel", "n_jets", "soft_jets_5"):
        assert found[name].tolist() == [row[name] for row in expected], name
    for name in expected[0]:
        if name not in ("region", "channel"):
            np.testing.assert_allclose(
                found[name], [row[name] for row in expected], rtol=1e-9, atol=1e-6, equal_nan=True, err_msg=name
            )
    assert {row["channel"] for row in expected} == set(hmumu.CHANNELS)
    assert {row["region"] for row in expected} == set(hmumu.REGIONS)


@pytest.mark.parametrize("chunk_entries", [701, 5_000])
def test_rows_and_counts_do_not_depend_on_the_chunks(mixture: Path, chunk_entries: int) -> None:
    whole, cut = rows(mixture, 2018), rows(mixture, 2018, chunk_entries=chunk_entries)
    assert whole.equals(cut)


@pytest.mark.parametrize(("branch", "name"), [("phi", "phi"), ("mass", "mass"), ("pfRelIso04_all", "isolation")])
def test_a_muon_with_nan_is_refused(mixture: Path, branch: str, name: str) -> None:
    """Also one without a photon: it would otherwise be dropped, or its event be in no region."""
    events = read(plan(str(mixture), chunk_entries=3_000)[0])
    alone = events.Muon.fsrPhotonIdx < 0
    events["Muon"] = ak.with_field(events.Muon, ak.where(alone, np.nan, events.Muon[branch]), branch)
    with pytest.raises(InputError, match=f"muon selection: {name} is nan for .* elements"):
        hmumu.select(events, campaign="2018")
