"""Names, types and titles of the branches: those of NanoAOD, of its version for the campaigns before ultra-legacy."""

from __future__ import annotations

from af_kit.simulate.nano import run3
from af_kit.simulate.nano.campaigns import Campaign
from af_kit.simulate.nano.conditions import FILTERS, TRIGGERS
from af_kit.simulate.nano.weights import Weights
from af_kit.simulate.writer import EVENT_NUMBERS, Schema

_Group = tuple[str, str, str]  # prefix, type, names

_RECORDED: list[_Group] = [
    ("Muon_", "float32", "pt eta phi mass ptErr dxy dxyErr dxybs dz dzErr ip3d sip3d tkRelIso tunepRelPt"),
    ("Muon_", "float32", "pfRelIso03_all pfRelIso03_chg pfRelIso04_all miniPFRelIso_all miniPFRelIso_chg"),
    ("Muon_", "float32", "mvaTTH softMva segmentComp jetRelIso jetPtRelv2"),
    ("Muon_", "int32", "charge pdgId nStations nTrackerLayers tightCharge fsrPhotonIdx jetIdx"),
    ("Muon_", "uint8", "highPtId pfIsoId miniIsoId mvaId"),
    ("Muon_", "bool", "looseId mediumId mediumPromptId tightId softId isGlobal isTracker isPFcand inTimeMuon"),
    ("FsrPhoton_", "float32", "pt eta phi relIso03 dROverEt2"),
    ("FsrPhoton_", "int32", "muonIdx"),
    ("Electron_", "float32", "pt eta phi mass deltaEtaSC dxy dxyErr dz dzErr ip3d sip3d sieie hoe eInvMinusPInv r9"),
    ("Electron_", "float32", "miniPFRelIso_all pfRelIso03_all mvaFall17V2Iso mvaFall17V2noIso mvaTTH"),
    ("Electron_", "int32", "charge pdgId cutBased tightCharge jetIdx"),
    ("Electron_", "uint8", "lostHits"),
    ("Electron_", "bool", "convVeto mvaFall17V2Iso_WP80 mvaFall17V2Iso_WP90 mvaFall17V2Iso_WPL"),
    ("Electron_", "bool", "mvaFall17V2noIso_WP80 mvaFall17V2noIso_WP90 mvaFall17V2noIso_WPL"),
    ("Jet_", "float32", "pt eta phi mass area rawFactor qgl btagDeepB btagDeepC btagDeepFlavB btagDeepFlavC btagCSVV2"),
    ("Jet_", "float32", "chEmEF chHEF muEF neEmEF neHEF muonSubtrFactor bRegCorr bRegRes"),
    ("Jet_", "int32", "jetId puId muonIdx1 muonIdx2 electronIdx1 electronIdx2 nConstituents nElectrons nMuons"),
    ("SoftActivityJet_", "float32", "pt eta phi"),
    ("SoftActivityJet", "float32", "HT HT2 HT5 HT10"),
    ("SoftActivityJet", "int32", "Njets2 Njets5 Njets10"),
    ("MET_", "float32", "pt phi sumEt significance covXX covXY covYY"),
    ("PuppiMET_", "float32", "pt phi sumEt"),
    ("RawMET_", "float32", "pt phi sumEt"),
    ("PV_", "float32", "x y z chi2 ndof score"),
    ("PV_", "int32", "npvs npvsGood"),
    ("fixedGridRhoFastjet", "float32", "All Central"),
    ("Flag_", "bool", " ".join(("goodVertices", *FILTERS))),
    ("HLT_", "bool", " ".join(TRIGGERS)),
]
_GENERATED: list[_Group] = [
    ("Muon_", "int32", "genPartIdx"),
    ("Muon_", "uint8", "genPartFlav"),
    ("Electron_", "int32", "genPartIdx"),
    ("Electron_", "uint8", "genPartFlav"),
    ("Jet_", "int32", "genJetIdx partonFlavour hadronFlavour"),
    ("GenPart_", "float32", "pt eta phi mass"),
    ("GenPart_", "int32", "pdgId status statusFlags genPartIdxMother"),
    ("GenJet_", "float32", "pt eta phi mass"),
    ("GenJet_", "int32", "partonFlavour"),
    ("GenJet_", "uint8", "hadronFlavour"),
    ("GenMET_", "float32", "pt phi"),
    ("Pileup_", "float32", "nTrueInt"),
    ("Pileup_", "int32", "nPU sumEOOT sumLOOT"),
    ("Generator_", "float32", "weight scalePDF x1 x2"),
    ("Generator_", "int32", "id1 id2"),
    ("LHE_", "float32", "HT Vpt"),
    ("LHE_", "uint8", "Njets Nb Nc Nuds Nglu NpNLO"),
    ("LHEWeight_", "float32", "originalXWGTUP"),
    ("", "float32", "genWeight LHEScaleWeight LHEPdfWeight PSWeight"),
]
_PREFIRING: list[_Group] = [("L1PreFiringWeight_", "float32", "Nom Up Dn")]
_HIGGS: list[_Group] = [
    ("HTXS_", "float32", "Higgs_pt Higgs_y"),
    ("HTXS_", "uint8", "njets30"),
    ("HTXS_", "int32", "stage1_1_fine_cat_pTjet30GeV"),
]
COLLECTIONS = ("Muon", "FsrPhoton", "Electron", "Jet", "SoftActivityJet")
GENERATED_COLLECTIONS = ("GenPart", "GenJet", "LHEScaleWeight", "LHEPdfWeight", "PSWeight")


def schema(campaign: Campaign, weights: Weights | None, *, is_higgs: bool) -> Schema:
    """Return the branches of a sample; data have no generator, ``weights`` is None."""
    groups = list(_RECORDED)
    if weights is not None:
        groups += _GENERATED
        if campaign.has_prefiring:
            groups += _PREFIRING
        if is_higgs:
            groups += _HIGGS
    columns = {prefix + name: dtype for prefix, dtype, names in groups for name in names.split()}
    if campaign.year != 2016:
        columns.pop("HLT_IsoTkMu24")  # a trigger of 2016
    if campaign.is_run3:
        columns = run3.schema(columns)
    return Schema(
        EVENT_NUMBERS | columns,
        COLLECTIONS + (GENERATED_COLLECTIONS if weights is not None else ()),
        weights.titles if weights is not None else {},
    )
