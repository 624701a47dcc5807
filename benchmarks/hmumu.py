"""What the peers of the H -> mu mu selection share: names only, so that none imports what another needs."""

STEPS = (
    *("all", "trigger", "two_muons", "filters", "vertex", "two_selected", "opposite_charge", "leading_pt"),
    *("electron_veto", "two_jets", "vbf"),
)
"""The steps of the cutflow of all peers. Each requires what all steps before it require."""

FLAGS = (
    *("BadPFMuonFilter", "EcalDeadCellTriggerPrimitiveFilter", "HBHENoiseFilter", "HBHENoiseIsoFilter"),
    *("globalSuperTightHalo2016Filter", "goodVertices", "BadChargedCandidateFilter"),
)
