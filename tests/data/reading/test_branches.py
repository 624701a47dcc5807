"""Selecting branches by name, pattern and collection."""

import awkward as ak
import pytest
from bits import SAMPLES, same, whole

from af_kit.data.reading.read import read
from af_kit.errors import BranchError, InputError, MissingBranchError


@pytest.mark.parametrize(
    ("declared", "there"),
    [
        (["run"], {"run"}),
        (["Muon_pt"], {"nMuon", "Muon_pt"}),
        (["Muon_p*"], {"nMuon", "Muon_pt", "Muon_phi"}),
        (["HLT"], {"HLT_IsoMu24", "HLT_Mu50"}),
        (["SV"], {"nSV", "SV_pt", "SV_eta", "SV_phi", "SV_mass", "SV_x", "SV_y", "SV_z"}),
        (["*_pt", "run"], {"nMuon", "Muon_pt", "nSV", "SV_pt", "MET_pt", "run"}),
        ([], set()),
    ],
)
def test_names_patterns_and_collections_can_be_declared(nano, declared, there):
    events = read(nano, declared)
    assert len(events) == 300
    full = read(nano)
    found = {
        f"{field}_{part}" if part else field for field in events.fields for part in (ak.fields(events[field]) or [""])
    }
    assert found == there
    for name in found:
        same(events[name], full[name])


def test_a_missing_branch_suggests_the_nearest(nano):
    for wrong, right in [("Muon_tp", "Muon_pt"), ("Muno", "Muon"), ("rum", "run")]:
        with pytest.raises(
            MissingBranchError, match=rf"no branch '{wrong}' in tree 'Events' of .*nano\.root\. .*'{right}'"
        ):
            read(nano, [wrong])
    with pytest.raises(MissingBranchError, match=r"no branch 'Tau_\*'"):
        read(nano, ["run", "Tau_*"])


def test_branches_must_be_a_list(nano):
    with pytest.raises(InputError, match=r"give a list, such as branches=\['run'\]"):
        read(nano, "run")


def test_an_unreadable_branch_cannot_be_declared_by_name():
    chunk = whole(SAMPLES / "stl.root")
    with pytest.raises(BranchError, match=r"Branch 'whole' of .* cannot be used"):
        read(chunk, ["whole"])
    assert set(chunk.layout.names) - set(read(chunk, ["*"]).fields) == {"whole"}
