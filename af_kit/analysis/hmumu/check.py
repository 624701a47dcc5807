"""Check a fileset against its campaign before hours are spent: metadata, branches, triggers, filters."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from af_kit.analysis.hmumu.calibrations import Calibrations
from af_kit.analysis.hmumu.campaign import Campaign
from af_kit.analysis.hmumu.sample import Sample, sample_of
from af_kit.data.fileset.datasets import Dataset, Fileset
from af_kit.data.reading.describe import describe
from af_kit.data.reading.open_file import find_tree, open_file
from af_kit.errors import AfKitError, InputError, ReadError, nearest

__all__ = ["check_datasets", "required_branches"]

_THREADS = 8
_PDF = "LHEPdfWeight"


def check_datasets(
    datasets: Fileset, campaign: Campaign, calibrations: Calibrations, variations: str
) -> tuple[dict[str, Sample], Fileset]:
    """Return what each dataset is, and the fileset with what its files say added to the metadata.

    The first readable file of each dataset is opened. Other files that differ from it fail when they are processed.

    Raises
    ------
    InputError
        Metadata are wrong or missing, or a branch that the campaign or a correction needs is not in the files.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        checked = list(pool.map(lambda one: _checked(one, campaign, calibrations, variations), datasets.values()))
    return {dataset.name: sample for sample, dataset in checked}, Fileset([dataset for _, dataset in checked])


def _checked(
    dataset: Dataset, campaign: Campaign, calibrations: Calibrations, variations: str
) -> tuple[Sample, Dataset]:
    path, names, ids = _first_readable(dataset)
    metadata = {"dataset": dataset.name, **dataset.metadata}
    if ids is not None:
        metadata.setdefault("lha_ids", list(ids))
    sample = sample_of(metadata, campaign, has_weights="genWeight" in names)
    declared = "isMC" in metadata or "process" in metadata
    if sample.is_mc and sample.xsec_pb is None and declared:
        raise InputError(
            f"Dataset {dataset.name!r} has no cross-section: add xsec_pb, in pb, with branching ratio and filter "
            "efficiency, to its metadata."
        )
    known = set(names)
    missing = [name for name in required_branches(sample, campaign, calibrations, variations) if name not in known]
    if missing:
        listed = ", ".join(f"{name}{nearest(name, names)}" for name in missing)
        raise InputError(
            f"{path} (dataset {dataset.name!r}) lacks {len(missing)} branch(es) that the campaign {campaign.name} or "
            f"its corrections need: {listed} Is this file of another campaign? Otherwise change the campaign's file, "
            "or switch the correction off."
        )
    added = {key: metadata[key] for key in ("lha_ids",) if key in metadata}
    return sample, dataclasses.replace(dataset, metadata={**dataset.metadata, **added})


def _first_readable(dataset: Dataset) -> tuple[str, list[str], tuple[int, int] | None]:
    """Return the path, the branches and the LHA ids of the first file that can be opened."""
    first: AfKitError | None = None
    for file in dataset.files:
        for replica in file.replicas:
            try:
                layout = describe(replica, file.treename)
                assert layout is not None
                ids = _lha_ids(replica, file.treename) if _PDF in layout.names else None
                return replica, layout.names, ids
            except ReadError as error:
                first = first or error
    raise first or InputError(f"Dataset {dataset.name!r} has no files.")


def _lha_ids(path: str, treename: str) -> tuple[int, int] | None:
    """Return the first and last LHA id in the title of the PDF weights; None if it names none."""
    import re

    with open_file(path) as file:
        tree = find_tree(file, path, treename)
        title = getattr(tree[_PDF], "title", None) or getattr(tree[_PDF], "description", "")
    found = re.search(r"LHA IDs (\d+) - (\d+)", str(title))
    return (int(found[1]), int(found[2])) if found else None


def required_branches(sample: Sample, campaign: Campaign, calibrations: Calibrations, variations: str) -> list[str]:
    """Return the branches that the analysis of a dataset reads."""
    on, cuts = calibrations.switches, campaign.jets
    names = ["run", "luminosityBlock", "event", *campaign.triggers, *campaign.flags, "PV_npvsGood"]
    names += _of("Muon", "pt eta phi mass charge pfRelIso04_all ptErr fsrPhotonIdx")
    names += [campaign.muons.id, campaign.electrons.id, campaign.btag.branch]
    names += _of("FsrPhoton", "pt eta phi relIso03 dROverEt2") + _of("Electron", "pt eta")
    names += _of("Jet", "pt eta phi mass muonIdx1 muonIdx2")
    names += ["SoftActivityJet_pt", "SoftActivityJet_eta", "SoftActivityJet_phi"]
    names += [f"SoftActivityJet{kind}{threshold}" for kind in ("Njets", "HT") for threshold in (2, 5)]
    if "geofit" in on:
        names.append("Muon_dxybs")
    if cuts.jet_id is None:
        names += _of("Jet", "neHEF neEmEF chHEF chEmEF muEF chMultiplicity neMultiplicity")
    else:
        names.append(cuts.jet_id.branch)
    names += ["Jet_qgl"] if cuts.min_qgl is not None else []
    names += [cuts.pileup_id.branch] if cuts.pileup_id is not None else []
    scales: Any = calibrations.get("jet_energy") or {}
    if ("simulation" if sample.is_mc else "data") in scales:
        names += ["Jet_rawFactor", "Jet_area", cuts.rho]
    return list(dict.fromkeys(names + (_of_simulation(sample, calibrations, variations) if sample.is_mc else [])))


def _of_simulation(sample: Sample, calibrations: Calibrations, variations: str) -> list[str]:
    on, names = calibrations.switches, ["genWeight"]
    if sample.stitching is not None:
        names += _of("GenJet", "pt eta phi mass") + _of("GenPart", "pdgId eta phi")
    if "rochester" in on:
        names += ["Muon_genPartIdx", "Muon_nTrackerLayers", "GenPart_pt"]
    names += ["Pileup_nTrueInt"] if "pileup" in on else []
    names += [f"L1PreFiringWeight_{name}" for name in ("Nom", "Up", "Dn")] if "prefiring" in on else []
    names += ["Jet_partonFlavour"] if "quark_gluon" in on else []
    names += ["Jet_hadronFlavour"] if "btag" in on else []
    if sample.process == "ggh" and "nnlops" in on:
        names += ["HTXS_Higgs_pt", "HTXS_njets30"]
    if variations == "all" and calibrations.get("jet_resolution") is not None:
        names += ["Jet_genJetIdx", *_of("GenJet", "pt eta phi")]
    if variations != "none" and sample.process in ("dy", "ewkzjj", "ggh", "vbf"):
        names += ["LHEScaleWeight"] if "lhe_scales" in on else []
        names += [_PDF] if "pdf" in on else []
        if sample.process == "vbf" and "vbf_theory" in on:
            names.append("HTXS_stage1_1_fine_cat_pTjet30GeV")
    return names


def _of(collection: str, fields: str) -> list[str]:
    return [f"{collection}_{field}" for field in fields.split()]
