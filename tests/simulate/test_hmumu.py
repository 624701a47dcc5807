"""The whole analysis in a folder, its fileset, and the template of a real one."""

import pytest
import uproot

import af_kit as af
from af_kit import simulate
from af_kit.analysis import hmumu
from af_kit.errors import InputError


def test_a_folder_with_everything(tmp_path):
    path = simulate.write_hmumu(tmp_path, 2017, events=600, seed=2, compression="LZ4-1")
    fileset = af.load_fileset(path)
    assert list(fileset) == [
        *("data", "dy_m50", "dy_m105_160", "dy_m105_160_vbf", "ewk_lljj_m105_160"),
        *("ttbar_dl", "diboson", "ggh_hmumu", "vbf_hmumu"),
    ]
    entries = {name: uproot.open(dataset.files[0].path)["Events"].num_entries for name, dataset in fileset.items()}
    assert sum(entries.values()) == 600
    assert entries["data"] == 240
    metadata = {name: dataset.metadata for name, dataset in fileset.items()}
    assert metadata["data"]["isMC"] is False
    assert "xsec_pb" not in metadata["data"]
    assert metadata["dy_m105_160_vbf"]["xsec_pb"] == 2.04
    assert metadata["ewk_lljj_m105_160"]["xsec_pb"] == 0.0789
    assert {of["year"] for of in metadata.values()} == {2017}
    assert len({of["lumi_ifb"] for of in metadata.values()}) == 1
    assert (tmp_path / "calibrations" / "RoccoR2017.txt.gz").exists()
    (tmp_path / "data_0.root").rename(tmp_path / "data_07.root")
    with pytest.raises(InputError, match="data_07"):
        simulate.write_hmumu(tmp_path, 2017, events=600)


def test_the_template_lists_the_datasets_of_an_analysis():
    fileset = af.load_fileset("hmumu.yaml")
    assert 28 <= len(fileset) <= 40
    simulated = {name: dataset.metadata for name, dataset in fileset.items() if dataset.metadata["isMC"]}
    assert len(fileset) - len(simulated) == 4
    assert all(of["xsec_pb"] > 0 and of["lumi_ifb"] == 59.97 for of in simulated.values())
    assert simulated["dy_M-50"]["xsec_pb"] == 5765.40
    assert simulated["vbf_hmumu"]["xsec_pb"] == 8.2107e-4
    samples = [hmumu.sample.sample_of(of, hmumu.load_campaign(2018), has_weights=True) for of in simulated.values()]
    assert {sample.process for sample in samples} == set(hmumu.PROCESSES) - {"data", "unknown"}
