"""Simulate a wide file in the format of CMS NanoAOD, for benchmarks and for selections with many branches.

`nanoaod` also writes single processes and data, as an analysis needs them (`af_kit.simulate.nano`). Its default is a
mixture that serves benchmarks: the quantities of a H -> mu mu selection (momenta, identification, isolation, matching,
triggers) are simulated roughly and consistently; the many other branches contain random numbers of realistic type,
range and compressibility.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.errors import InputError, nearest
from af_kit.simulate.kinematics import MUON_MASS, Floats, Muons, breit_wigner, pairs, power_law
from af_kit.simulate.nano.sample import KINDS, write_sample
from af_kit.simulate.writer import EVENT_NUMBERS, Block, Schema, blocks, check_count, number_events, write_tree

Fill = Callable[[np.random.Generator, int], NDArray[Any]]

# Types of events: no muon, one (as from a W), two from a Z, two from a Higgs boson with two forward jets.
_NONE, _SINGLE, _Z, _VBF = range(4)
_SHARES = [0.10, 0.745, 0.15, 0.005]

KINDS_OF_MIXTURE = ("ttree", "rntuple")


def nanoaod(
    path: str | Path,
    entries: int,
    seed: int,
    *,
    file_index: int = 0,
    cluster_entries: int = 50_000,
    compression: str = "ZSTD-5",
    kind: str = "ttree",
    year: int | None = None,
    format: str | None = None,
) -> Path:
    """Write a ROOT file in the format of NanoAOD with about 200 branches; tree ``Events``.

    By default it is a mixture for benchmarks, with 180 branches; with ``kind`` and ``year``, one process or data.

    The mixture resembles data from single-muon triggers: 15% of the events have a Z boson, and 0.5% a Higgs boson from
    vector-boson fusion, far more than in real data, so that a small file has some of them. Names and types of the
    branches are those of NanoAOD.

    Parameters
    ----------
    path, entries, seed, file_index, cluster_entries, compression
        As in `dimuon`.
    kind : str
        ``"ttree"`` or ``"rntuple"``: the mixture, in this format. Or a kind of sample:

        - ``"data"``: a dataset of single-muon triggers, of which 3.7% are Z bosons; ``"data-doublemuon"``: one of
          double-muon triggers that shares events with the file of the same seed and index of the first;
        - ``"dy"``: Drell-Yan with m > 50; ``"dy-m105-160"``; ``"dy-m105-160-vbf"``: its twin in which the two leading
          generator jets have a mass above 350 GeV;
        - ``"ewkzjj"``, ``"ttbar"``, ``"diboson"``; ``"ggh-hmumu"``, ``"vbf-hmumu"``: the signal at 125 GeV.

        These files also have the trees ``Runs`` and ``LuminosityBlocks``; `calibrations` writes files that correct
        them.
    year : int, optional
        The campaign of such a sample: 2016, 2017, 2022, or 2018 by default.
    format : str, optional
        ``"ttree"`` (default) or ``"rntuple"`` for such a sample.

    Raises
    ------
    InputError
        As in `dimuon`; also if year or format is given for the mixture.
    """
    if kind in KINDS:
        return write_sample(
            path, entries, seed, kind=kind, year=2018 if year is None else year, file_index=file_index,
            cluster_entries=cluster_entries, compression=compression, format=format or "ttree",
        )  # fmt: skip
    if kind not in KINDS_OF_MIXTURE:
        raise InputError(f"There is no kind {kind!r} of NanoAOD.{nearest(str(kind), [*KINDS_OF_MIXTURE, *KINDS])}")
    for option, value in (("year", year), ("format", format)):
        if value is not None:
            raise InputError(
                f"{option}={value!r} does not apply to kind={kind!r}.{nearest(str(kind), KINDS)} Kinds with a year are "
                f"{', '.join(KINDS)}."
            )
    check_count("entries", entries)
    check_count("seed", seed)
    run = 1 + check_count("file_index", file_index)

    def draw(generator: np.random.Generator, first: int, number: int) -> Block:
        counts, known = _draw(generator, number)
        known |= number_events(run, first, number)
        columns: dict[str, NDArray[Any]] = {}
        for name, dtype in _SCHEMA.columns.items():
            if name in known:
                values = known[name]
            else:
                collection = _SCHEMA.collection_of(name)
                total = int(counts[collection].sum()) if collection else number
                values = _FILLS[name](generator, total)
            columns[name] = values.astype(dtype) if name in known else _rounded(values.astype(dtype))
        return Block(number, counts, columns)

    events = blocks(draw, _SCHEMA, entries, seed, file_index)
    return write_tree(path, _SCHEMA, events, cluster_entries=cluster_entries, compression=compression, kind=kind)


def _draw(generator: np.random.Generator, number: int) -> tuple[dict[str, NDArray[np.uint32]], dict[str, NDArray[Any]]]:
    """Draw the sizes of the collections, and the correlated columns."""
    kind = generator.choice(4, number, p=_SHARES)
    known: dict[str, NDArray[Any]] = {}
    n_muon, muons, charge, prompt = _muons(generator, kind)
    first = np.cumsum(n_muon) - n_muon
    n_jet, jets = _jets(generator, kind)
    n_electron = (generator.random(number) < 0.08).astype(np.uint32)
    n_soft = generator.poisson(2, number).astype(np.uint32)
    # A photon radiated by the leading muon.
    n_photon = ((generator.random(number) < 0.03) & (n_muon > 0)).astype(np.uint32)
    radiating = first[n_photon > 0]

    total = muons.pt.size
    known |= {f"Muon_{name}": values for name, values in muons._asdict().items()}
    known["Muon_mass"] = np.full(total, MUON_MASS)
    known["Muon_charge"], known["Muon_pdgId"] = charge, -13 * charge
    known["Muon_pfRelIso04_all"] = generator.exponential(np.where(prompt, 0.04, 1.2))
    known["Muon_pfRelIso03_all"] = 0.8 * known["Muon_pfRelIso04_all"]
    known["Muon_mediumId"] = generator.random(total) < np.where(prompt, 0.97, 0.4)
    known["Muon_fsrPhotonIdx"] = np.full(total, -1)
    known["Muon_fsrPhotonIdx"][radiating] = 0
    known["FsrPhoton_pt"] = muons.pt[radiating] * generator.uniform(0.03, 0.5, radiating.size)
    known["FsrPhoton_eta"] = np.clip(muons.eta[radiating] + generator.normal(0, 0.1, radiating.size), -2.5, 2.5)
    known["FsrPhoton_phi"] = _wrapped(muons.phi[radiating] + generator.normal(0, 0.1, radiating.size))
    known["FsrPhoton_muonIdx"] = np.zeros(radiating.size)

    # A quarter of the leading jets are the leading muon, reconstructed also as a jet.
    first_jet = np.cumsum(n_jet) - n_jet
    same = (n_muon > 0) & (n_jet > 0) & (generator.random(number) < 0.25)
    known["Jet_muonIdx1"], known["Jet_muonIdx2"] = np.full((2, jets.pt.size), -1)
    known["Jet_muonIdx1"][first_jet[same]] = 0
    for name in ("eta", "phi"):
        getattr(jets, name)[first_jet[same]] = getattr(muons, name)[first[same]]
    known |= {f"Jet_{name}": values for name, values in jets._asdict().items()}
    known["Jet_mass"] = jets.pt * generator.uniform(0.08, 0.2, jets.pt.size)
    b = generator.random(jets.pt.size) < 0.04
    known["Jet_btagDeepB"] = np.where(b, generator.beta(5, 1.2, b.size), generator.beta(0.8, 8, b.size))

    leading = np.zeros(number)
    leading[n_muon > 0] = muons.pt[first[n_muon > 0]]
    for threshold in (20, 24, 27, 30):
        known[f"HLT_IsoMu{threshold}"] = (leading > threshold) & (generator.random(number) < 0.9)
    counts = {"Muon": n_muon, "Electron": n_electron, "Jet": n_jet, "FsrPhoton": n_photon, "SoftActivityJet": n_soft}
    return counts, known


def _muons(
    generator: np.random.Generator, kind: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], Muons, NDArray[np.int32], NDArray[np.bool_]]:
    """Draw number per event, momenta sorted by falling pt, charges, and which come from W, Z or Higgs bosons."""
    prompt = np.array([0, 1, 2, 2])[kind]
    counts = (prompt + (generator.random(kind.size) < 0.06)).astype(np.uint32)
    starts, total = np.cumsum(counts) - counts, int(counts.sum())
    rank = np.arange(total) - np.repeat(starts, counts)
    is_prompt = rank < np.repeat(prompt, counts)
    pt = 3 + power_law(generator.random(total), np.where(is_prompt, 30.0, 3.5), 3.5)
    eta, phi = generator.uniform(-2.4, 2.4, total), generator.uniform(-np.pi, np.pi, total)
    charge = generator.integers(0, 2, total, dtype=np.int32) * 2 - 1

    first = starts[prompt == 2]
    uniform = generator.random(first.size)
    higgs = kind[prompt == 2] == _VBF
    masses = np.where(
        higgs, breit_wigner(uniform, 125.2, 0.0041, 124, 126), breit_wigner(uniform, 91.188, 2.4955, 40, 250)
    )
    for index, muons in zip((first, first + 1), pairs(generator, masses), strict=True):
        pt[index], eta[index], phi[index] = muons
    charge[first + 1] = -charge[first]
    order = np.lexsort((-pt, np.repeat(np.arange(kind.size), counts)))
    return counts, Muons(pt[order], eta[order], phi[order]), charge[order], is_prompt[order]


def _jets(generator: np.random.Generator, kind: NDArray[np.int64]) -> tuple[NDArray[np.uint32], Muons]:
    """Draw number per event, and momenta sorted by falling pt; vector-boson fusion has two hard jets, far apart."""
    vbf = kind == _VBF
    counts = (generator.poisson(2.2, kind.size) + 2 * vbf).astype(np.uint32)
    starts, total = np.cumsum(counts) - counts, int(counts.sum())
    pt = 15 + power_law(generator.random(total), 18.0, 2.2)
    eta = np.clip(generator.normal(0, 1.9, total), -4.7, 4.7)
    phi = generator.uniform(-np.pi, np.pi, total)
    first = starts[vbf]
    side = generator.integers(0, 2, first.size) * 2 - 1
    for index, sign in ((first, side), (first + 1, -side)):
        pt[index] = 40 + power_law(generator.random(first.size), 60.0, 2.5)
        eta[index] = sign * generator.uniform(1.2, 4.5, first.size)
    order = np.lexsort((-pt, np.repeat(np.arange(kind.size), counts)))
    return counts, Muons(pt[order], eta[order], phi[order])


def _wrapped(angle: Floats) -> Floats:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _rounded(values: NDArray[Any]) -> NDArray[Any]:
    """Round single precision to 12 bits of mantissa, as NanoAOD does for most quantities."""
    if values.dtype != np.float32:
        return values
    return (values.view(np.uint32) & np.uint32(0xFFFFF800)).view(np.float32)


def _normal(mean: float, spread: float) -> Fill:
    return lambda generator, size: generator.normal(mean, spread, size)


def _falling(scale: float, least: float = 0) -> Fill:
    return lambda generator, size: least + generator.exponential(scale, size)


def _uniform(low: float, high: float) -> Fill:
    return lambda generator, size: generator.uniform(low, high, size)


def _flag(probability: float) -> Fill:
    return lambda generator, size: generator.random(size) < probability


def _code(values: Sequence[int], shares: Sequence[float] | None = None) -> Fill:
    return lambda generator, size: generator.choice(values, size, p=shares)


_ANGLE, _PART, _SCORE = _uniform(-np.pi, np.pi), _uniform(0, 1), _uniform(-1, 1)
_NO_MATCH = _code([-1, 0, 1], [0.8, 0.15, 0.05])

_BRANCHES: list[tuple[str, str, str, Fill]] = [
    # Prefix, type, names, distribution. Columns from `_draw` are listed for their name and type only.
    ("Muon_", "float32", "pt eta phi mass pfRelIso03_all pfRelIso04_all", _PART),
    ("Muon_", "float32", "dxy dxybs dz", _normal(0, 0.01)),
    ("Muon_", "float32", "dxyErr dzErr ip3d ptErr", _falling(0.01)),
    ("Muon_", "float32", "sip3d segmentComp", _falling(1.5)),
    (
        "Muon_",
        "float32",
        "jetPtRelv2 jetRelIso miniPFRelIso_all miniPFRelIso_chg pfRelIso03_chg tkRelIso",
        _falling(0.1),
    ),
    ("Muon_", "float32", "tunepRelPt", _normal(1, 0.01)),
    ("Muon_", "float32", "softMva mvaLowPt mvaTTH", _SCORE),
    ("Muon_", "int32", "charge pdgId fsrPhotonIdx jetIdx", _NO_MATCH),
    ("Muon_", "int32", "nStations nTrackerLayers tightCharge", _code(range(18))),
    ("Muon_", "uint8", "highPtId miniIsoId multiIsoId mvaId pfIsoId tkIsoId", _code(range(5))),
    ("Muon_", "bool", "isGlobal isTracker isPFcand inTimeMuon looseId mediumId mediumPromptId softId", _flag(0.95)),
    ("Muon_", "bool", "softMvaId tightId triggerIdLoose", _flag(0.8)),
    ("Electron_", "float32", "pt", _falling(15, 5)),
    ("Electron_", "float32", "eta", _uniform(-2.5, 2.5)),
    ("Electron_", "float32", "phi", _ANGLE),
    ("Electron_", "float32", "mass deltaEtaSC dxy dz eInvMinusPInv", _normal(0, 0.02)),
    ("Electron_", "float32", "dxyErr dzErr ip3d sip3d hoe sieie miniPFRelIso_all pfRelIso03_all", _falling(0.05)),
    ("Electron_", "float32", "r9", _normal(0.95, 0.05)),
    ("Electron_", "float32", "mvaFall17V2Iso mvaFall17V2noIso mvaTTH", _SCORE),
    ("Electron_", "int32", "charge pdgId cutBased tightCharge jetIdx", _NO_MATCH),
    ("Electron_", "uint8", "lostHits", _code([0, 1, 2], [0.9, 0.08, 0.02])),
    ("Electron_", "bool", "convVeto mvaFall17V2Iso_WP80 mvaFall17V2Iso_WP90 mvaFall17V2Iso_WPL", _flag(0.6)),
    ("Jet_", "float32", "pt eta phi mass btagDeepB", _PART),
    ("Jet_", "float32", "area", _normal(0.5, 0.05)),
    ("Jet_", "float32", "btagCSVV2 btagDeepC btagDeepFlavB btagDeepFlavC qgl bRegCorr bRegRes", _PART),
    ("Jet_", "float32", "chEmEF chHEF muEF neEmEF neHEF jercCHF jercCHPUF", _falling(0.2)),
    ("Jet_", "float32", "rawFactor muonSubtrFactor", _normal(0.05, 0.03)),
    ("Jet_", "int32", "muonIdx1 muonIdx2 electronIdx1 electronIdx2", _NO_MATCH),
    ("Jet_", "int32", "jetId", _code([0, 2, 6], [0.02, 0.08, 0.9])),
    ("Jet_", "int32", "puId", _code([0, 4, 6, 7], [0.1, 0.1, 0.1, 0.7])),
    ("Jet_", "int32", "nConstituents nElectrons nMuons", _code(range(40))),
    ("FsrPhoton_", "float32", "pt eta phi", _PART),
    ("FsrPhoton_", "float32", "relIso03", _falling(1.0)),
    ("FsrPhoton_", "float32", "dROverEt2", _falling(0.008)),
    ("FsrPhoton_", "int32", "muonIdx", _NO_MATCH),
    ("SoftActivityJet_", "float32", "pt", _falling(4, 1)),
    ("SoftActivityJet_", "float32", "eta", _uniform(-5, 5)),
    ("SoftActivityJet_", "float32", "phi", _ANGLE),
    ("SoftActivityJet", "float32", "HT HT2 HT5 HT10", _falling(60)),
    ("SoftActivityJet", "int32", "Njets2 Njets5 Njets10", _code(range(12))),
    ("MET_", "float32", "pt significance", _falling(25)),
    ("MET_", "float32", "sumEt covXX covXY covYY", _falling(400)),
    ("MET_", "float32", "phi", _ANGLE),
    ("PuppiMET_", "float32", "pt sumEt", _falling(40)),
    ("PuppiMET_", "float32", "phi", _ANGLE),
    ("PV_", "float32", "x y z chi2 ndof score", _normal(0, 4)),
    ("PV_", "int32", "npvs npvsGood", _code(range(1, 60))),
    ("", "float32", "fixedGridRhoFastjetAll", _falling(20)),
    ("Flag_", "bool", "BadPFMuonFilter EcalDeadCellTriggerPrimitiveFilter HBHENoiseFilter", _flag(0.999)),
    ("Flag_", "bool", "HBHENoiseIsoFilter globalSuperTightHalo2016Filter goodVertices", _flag(0.999)),
    ("Flag_", "bool", "BadChargedCandidateFilter ecalBadCalibFilterV2", _flag(0.999)),
    ("HLT_", "bool", "IsoMu20 IsoMu24 IsoMu27 IsoMu30", _flag(0.5)),
    ("HLT_", "bool", "IsoTkMu24 Mu50 Mu55 TkMu100 OldMu100 Mu17_TrkIsoVVL_Mu8_TrkIsoVVL_DZ_Mass3p8", _flag(0.05)),
    ("HLT_", "bool", "Mu12 Mu15 Mu20 Mu27 Ele27_WPTight_Gsf Ele32_WPTight_Gsf Ele35_WPTight_Gsf", _flag(0.02)),
    ("HLT_", "bool", "DoubleMu4_3_Jpsi DoubleMu3_Trk_Tau3mu PFJet60 PFJet140 PFJet320 PFJet500", _flag(0.01)),
    ("HLT_", "bool", "PFHT780 PFMET120_PFMHT120_IDTight Photon33 TripleMu_12_10_5", _flag(0.01)),
]
_SCHEMA = Schema(
    EVENT_NUMBERS | {prefix + name: dtype for prefix, dtype, names, _ in _BRANCHES for name in names.split()},
    ("Muon", "Electron", "Jet", "FsrPhoton", "SoftActivityJet"),
)
_FILLS = {prefix + name: fill for prefix, _, names, fill in _BRANCHES for name in names.split()}
