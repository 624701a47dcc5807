"""The corrections of a campaign: which are switched on, and their files, found by name in one folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from af_kit.analysis.hmumu.campaign import Campaign, load_campaign
from af_kit.analysis.hmumu.columns import Collection, scalar
from af_kit.analysis.hmumu.sample import Sample
from af_kit.analysis.hmumu.variations import MUON_SCALE, NOMINAL, label_of
from af_kit.corrections import randoms
from af_kit.corrections.mass_resolution import mass_resolution
from af_kit.errors import InputError, nearest

if TYPE_CHECKING:
    from af_kit.analysis.hmumu.muons import Candidates, Muon, Resolution
    from af_kit.corrections.golden import GoldenJSON

__all__ = ["CORRECTIONS", "Calibrations", "load_calibrations", "switches_of"]

CORRECTIONS = {
    "fsr": "photons radiated by muons are added to them",
    "geofit": "the muons' momentum is corrected for their distance from the beam line",
    "rochester": "momentum scale and resolution of muons",
    "mass_resolution": "calibration of the dimuon mass resolution",
    "jet_energy": "energy scale of jets, and its uncertainties",
    "jet_resolution": "uncertainties of the energy resolution of jets (nominal jets are not smeared)",
    "pileup": "number of interactions",
    "prefiring": "level-1 triggers that fired one bunch crossing too early",
    "muon_id": "efficiency of the muon identification",
    "muon_iso": "efficiency of the muon isolation",
    "muon_trigger": "efficiency of the trigger",
    "nnlops": "Higgs pt and number of jets in gluon fusion",
    "quark_gluon": "quark/gluon likelihood of the two leading jets",
    "btag": "shape of the b-tag discriminator",
    "lhe_scales": "renormalisation and factorisation scale (variations only)",
    "pdf": "parton densities (variations only)",
    "vbf_theory": "ten sources of theory uncertainty in vector-boson fusion (variations only)",
    "zpt": "pt of the Z boson in Drell-Yan; off by default",
    "pileup_jet_id": "efficiency of the pile-up jet identification; off by default",
}
"""The corrections, each of which can be switched on and off."""

WITHOUT_FILES = ("fsr", "geofit")
"""What "none" leaves: these need no calibration file."""

_OFF = ("zpt", "pileup_jet_id")
# Read from the events, or computed: no file either, but not part of "none".
_FROM_EVENTS = ("prefiring", "quark_gluon", "lhe_scales", "pdf")


def switches_of(corrections: str | Iterable[str], campaign: Campaign) -> frozenset[str]:
    """Return the names of the corrections that are switched on.

    Parameters
    ----------
    corrections
        "all" (without those that are off by default), "none" (only FSR recovery and GeoFit), or names of `CORRECTIONS`;
        as text, separated by commas. A name after a minus sign is switched off: ``"all,zpt,-btag"``.

    Raises
    ------
    InputError
        A name is unknown, or the campaign has no such correction.
    """
    words = [word.strip() for word in corrections.split(",")] if isinstance(corrections, str) else list(corrections)
    lacking = {name for name in CORRECTIONS if not _has(campaign, name)}
    on: set[str] = set()
    for word in words:
        name = word.removeprefix("-")
        if word == "all":
            on |= set(CORRECTIONS) - set(_OFF) - lacking
        elif word == "none":
            on |= set(WITHOUT_FILES) - lacking
        elif name not in CORRECTIONS:
            raise InputError(
                f"There is no correction {name!r}.{nearest(name, [*CORRECTIONS, 'all', 'none'])} "
                f"The corrections are {', '.join(CORRECTIONS)}."
            )
        elif word != name:
            on.discard(name)
        elif name in lacking:
            raise InputError(f"The campaign {campaign.name} has no correction {name!r}.")
        else:
            on.add(name)
    return frozenset(on)


def _has(campaign: Campaign, name: str) -> bool:
    if name == "geofit":
        return campaign.geofit is not None
    if name == "prefiring":
        return campaign.prefiring
    if name == "quark_gluon":
        return campaign.jets.min_qgl is not None
    return name in ("fsr", *_FROM_EVENTS) or name in campaign.calibrations


@dataclass(frozen=True)
class Calibrations:
    """The corrections that `analyse` applies.

    Attributes
    ----------
    campaign
        Their campaign.
    switches
        Names of the corrections that are switched on.
    golden_json
        The luminosity blocks of good data; None if data are not to be restricted.
    files
        The calibration files in use.
    """

    campaign: Campaign
    switches: frozenset[str] = frozenset(WITHOUT_FILES)
    golden_json: GoldenJSON | None = None
    files: tuple[str, ...] = ()
    loaded: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def get(self, name: str) -> Any:
        """Return a correction that has been loaded from files; None if it is switched off."""
        return self.loaded.get(name)

    def muon_scales(
        self, events: Any, chosen: NDArray[np.int64], muons: Candidates, sample: Sample, *, with_error: bool
    ) -> dict[str, Any]:
        """Return the factor on each muon's pt: nominal and, in simulation, varied by its error."""
        rochester = self.get("rochester")
        if rochester is None:
            return {NOMINAL: 1.0}
        raw = muons.columns
        kinematics = raw["pt"], raw["eta"], raw["phi"], raw["charge"]
        if not sample.is_mc:
            return {NOMINAL: rochester.data(*kinematics, errors=False).factor}
        at = chosen[muons.event]
        particles = Collection(events, "GenPart", chosen, like="pt")
        numbers = (scalar(events, name, at) for name in ("run", "luminosityBlock", "event"))
        scale = rochester.simulation(
            *kinematics,
            gen_pt=particles.at(muons.event, muons.more("genPartIdx").astype(np.int64), "pt"),
            layers=muons.more("nTrackerLayers"),
            random=randoms.uniform(*numbers, index=raw["position"], stream="rochester"),
            errors=with_error,
        )
        if not with_error:
            return {NOMINAL: scale.factor}
        up, down = (label_of(MUON_SCALE, direction) for direction in ("up", "down"))
        return {NOMINAL: scale.factor, up: scale.factor + scale.error, down: scale.factor - scale.error}

    def mass_resolution_of(self, sample: Sample) -> Resolution:
        """Return a function of two muons and their mass: the relative resolution of the mass."""
        both = self.get("mass_resolution")
        calibration = None if both is None else both["simulation" if sample.is_mc else "data"]

        def resolution(muons: tuple[Muon, Muon], mass: NDArray[np.float64]) -> NDArray[np.float64]:
            first, second = muons
            factor = 1.0
            if calibration is not None:
                factor = calibration.factor(first["pt"], first["raw_eta"], second["raw_eta"])
            pt, error = ((first[name], second[name]) for name in ("pt", "pt_error"))
            relative: NDArray[np.float64] = mass_resolution(mass, pt=pt, pt_error=error, calibration=factor).relative
            return relative

        return resolution


def load_calibrations(
    folder: str | Path | None,
    campaign: str | int | Campaign,
    *,
    corrections: str | Iterable[str] = "all",
    golden_json: str | Path | None = None,
) -> Calibrations:
    """Load the corrections of a campaign.

    Parameters
    ----------
    folder
        Where the campaign's files are, by their names; also the golden JSON. None: no files.
    campaign
        A year, a path, or a loaded campaign.
    corrections
        See `switches_of`.
    golden_json
        The list of good luminosity blocks, if it is not the campaign's in the folder.

    Raises
    ------
    InputError
        Files are missing (the message lists all of them) or cannot be read.
    """
    campaign = load_campaign(campaign)
    switches = switches_of(corrections, campaign)
    names = [name for name in _LOADERS if _SWITCH.get(name, name) in switches and name in campaign.calibrations]
    if folder is None and names:
        raise InputError(
            f"The corrections {', '.join(names)} of {campaign.name} need calibration files: pass their folder "
            "(--calibrations DIR), or switch the corrections off (--corrections none)."
        )
    present = {} if folder is None else _files_below(Path(folder))
    _check_files(present, folder, campaign, names)
    used: dict[str, None] = {}

    def path(name: str) -> Path:
        used[str(present[name])] = None
        return present[name]

    loaded = {name: _LOADERS[name](campaign.calibrations[name], path, campaign) for name in names}
    golden = Path(golden_json) if golden_json is not None else present.get(campaign.calibrations.get("golden_json", ""))
    blocks = None
    if golden is not None:
        from af_kit.corrections.golden import GoldenJSON

        used[str(golden)] = None
        blocks = GoldenJSON.load(golden)
    return Calibrations(campaign, switches, blocks, tuple(used), loaded)


# Calibrations with another name than their switch
_SWITCH = {"jet_uncertainties": "jet_energy"}


def _files_below(folder: Path) -> dict[str, Path]:
    """Return the files in a folder and its subfolders, by name; of several of one name the first."""
    if not folder.is_dir():
        raise InputError(f"There is no folder of calibrations {folder}.")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.setdefault(path.name, path)
    return found


def _check_files(present: Mapping[str, Path], folder: Any, campaign: Campaign, names: list[str]) -> None:
    needed = {file: name for name in names for file in _files_in(campaign.calibrations[name])}
    missing = [file for file in needed if file not in present]
    if missing:
        listed = ", ".join(f"{file} ({needed[file]}){nearest(file, present)}" for file in missing)
        off = ",".join(dict.fromkeys(f"-{_SWITCH.get(needed[file], needed[file])}" for file in missing))
        raise InputError(
            f"{folder} lacks {len(missing)} calibration file(s) of {campaign.name}: {listed} "
            f"Add them, or switch these corrections off: --corrections all,{off}"
        )


def _files_in(value: Any) -> list[str]:
    """Return the file names in a section of a campaign's calibrations."""
    if isinstance(value, str):
        return [value] if value.endswith((".root", ".gz", ".json", ".txt")) else []
    if isinstance(value, Mapping):
        return [file for key, item in value.items() for part in (key, item) for file in _files_in(part)]
    return [file for item in value for file in _files_in(item)] if isinstance(value, list) else []


_Path = Callable[[str], Path]


def _rochester(name: Any, path: _Path, campaign: Campaign) -> Any:
    from af_kit.corrections.rochester import Rochester

    return Rochester.load(path(name))


def _mass_resolution(names: Any, path: _Path, campaign: Campaign) -> Any:
    from af_kit.corrections.mass_resolution import Calibration

    return {kind: Calibration.load(path(name)) for kind, name in names.items()}


def _scale_factor(source: str) -> Callable[[Any, _Path, Campaign], Any]:
    def load(section: Any, path: _Path, campaign: Campaign) -> Any:
        from af_kit.corrections.muon_efficiency import ScaleFactor

        files = {path(file): lumi for file, lumi in section["files"].items()}
        return ScaleFactor.load(files, section["name"], source=source)

    return load


def _trigger(section: Any, path: _Path, campaign: Campaign) -> Any:
    from af_kit.corrections.muon_efficiency import Trigger

    return Trigger.load({path(file): lumi for file, lumi in section["files"].items()}, section["name"])


def _pileup(section: Any, path: _Path, campaign: Campaign) -> Any:
    from af_kit.corrections.pileup import Pileup

    return Pileup.load(path(section["data"]), path(section["simulation"]), cap=section.get("cap"))


def _jet_energy(section: Any, path: _Path, campaign: Campaign) -> Any:
    """Return the energy scale of simulation and, where the campaign has it, of data by run period."""
    from af_kit.corrections.jet_energy import JetEnergyScale

    if "file" in section:
        file = path(section["file"])
        return {kind: JetEnergyScale.load(file, name=section[kind]) for kind in ("simulation", "data")}
    scales = {"simulation": JetEnergyScale.load([path(name) for name in section["simulation"]])}
    if "data" in section:
        periods = {period["runs"][0]: [path(name) for name in period["files"]] for period in section["data"].values()}
        scales["data"] = JetEnergyScale.load_periods(periods)
    return scales


def _jet_uncertainties(section: Any, path: _Path, campaign: Campaign) -> Any:
    from af_kit.corrections.jet_energy import JetUncertainties

    return JetUncertainties.load(path(section["file"]), section["sources"], name=section.get("name"))


def _jet_resolution(section: Any, path: _Path, campaign: Campaign) -> Any:
    from af_kit.corrections.jet_resolution import JetResolution

    names = section["resolution"], section["scale_factor"]
    if "file" in section:
        return JetResolution.load(path(section["file"]), names=names)
    return JetResolution.load([path(name) for name in names])


def _pileup_jet_id(name: Any, path: _Path, campaign: Campaign) -> Any:
    from af_kit.corrections.jet_id import PileupIdWeights

    return PileupIdWeights.load(path(name), year=str(campaign.year))


def _btag(name: Any, path: _Path, campaign: Campaign) -> Any:
    from af_kit.corrections.btag import BtagShape

    return BtagShape.load(path(name))


def _nnlops(name: Any, path: _Path, campaign: Campaign) -> Any:
    from af_kit.corrections.nnlops import GENERATORS, NNLOPS

    return {generator: NNLOPS.load(path(name), generator=generator) for generator in GENERATORS}


def _vbf_theory(name: Any, path: _Path, campaign: Campaign) -> Any:
    from af_kit.corrections.vbf_theory import VBFTheory

    return VBFTheory.load(path(name))


def _zpt(section: Any, path: _Path, campaign: Campaign) -> Any:
    from af_kit.corrections.zpt import ZPt

    return ZPt.load(path(section["file"]), year=section["year"])


_LOADERS: dict[str, Callable[[Any, _Path, Campaign], Any]] = {
    "rochester": _rochester,
    "mass_resolution": _mass_resolution,
    "muon_id": _scale_factor("muon_id"),
    "muon_iso": _scale_factor("muon_iso"),
    "muon_trigger": _trigger,
    "pileup": _pileup,
    "jet_energy": _jet_energy,
    "jet_uncertainties": _jet_uncertainties,
    "jet_resolution": _jet_resolution,
    "pileup_jet_id": _pileup_jet_id,
    "btag": _btag,
    "nnlops": _nnlops,
    "vbf_theory": _vbf_theory,
    "zpt": _zpt,
}
