"""A campaign: the constants of one year of data and of its simulation, from one YAML file.

Cuts, luminosity, triggers, filters, working points, and the names of the calibration files. These belong together: a
working point is only right for the reconstruction that it was measured with.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from af_kit.errors import InputError, nearest

__all__ = ["CAMPAIGNS", "Campaign", "load_campaign"]

_FOLDER = Path(__file__).parent / "campaigns"

CAMPAIGNS = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))
"""Names of the campaigns that come with the kit: "2016", "2017", "2018" and "2022"."""


@dataclass(frozen=True)
class Muons:
    """Cuts on each muon (raw pt, raw eta, isolation after FSR recovery), and on the larger raw pt of the two."""

    min_pt: float
    max_abs_eta: float
    id: str
    max_isolation: float
    leading_pt: float


@dataclass(frozen=True)
class Electrons:
    """Electrons that veto an event."""

    min_pt: float
    max_abs_eta: float
    id: str


@dataclass(frozen=True)
class JetId:
    """The jet identification: a branch with bits or a level, at least this value."""

    branch: str
    at_least: int


@dataclass(frozen=True)
class Tight:
    """A range of ``low < |eta| < high`` in which the pile-up identification is stricter, at any pt."""

    at_least: int
    abs_eta: tuple[float, float]


@dataclass(frozen=True)
class PileupId:
    """The pile-up identification, needed below a pt."""

    branch: str
    at_least: int
    below_pt: float
    tight: Tight | None = None


@dataclass(frozen=True)
class Jets:
    """Cuts on each jet. ``jet_id`` is None where the identification is computed from the energy fractions."""

    min_pt: float
    max_abs_eta: float
    rho: str
    min_qgl: float | None
    jet_id: JetId | None
    pileup_id: PileupId | None


@dataclass(frozen=True)
class BTag:
    """The b-tag discriminator and its working points, for jets within ``max_abs_eta``."""

    branch: str
    max_abs_eta: float
    loose: float
    medium: float


@dataclass(frozen=True)
class VBF:
    """Cuts on the two leading jets in the VBF channel."""

    min_mass: float
    min_delta_eta: float
    leading_pt: float


@dataclass(frozen=True)
class Campaign:
    """The constants of one campaign; momenta in GeV, luminosity in 1/pb.

    Attributes
    ----------
    name, year
        "2018", 2018.
    lumi_ipb, sqrt_s_TeV
        Integrated luminosity, and energy of the collisions.
    triggers, flags, flags_where_present
        Branches: any of the triggers, all of the flags, and those of the last list where a file has them.
    muons, electrons, jets, btag, vbf
        Cuts.
    geofit
        The three factors of the GeoFit correction; None if there are none.
    prefiring
        Whether the simulation has the weights of the L1 pre-firing.
    calibrations
        For each correction the names of its files, and what to look up in them.
    score_bins
        Edges of the bins of the score's template; None if there are none.
    for_publication, lacking
        Whether the set of corrections is complete, and what is missing.
    """

    name: str
    year: int
    sqrt_s_TeV: float
    lumi_ipb: float
    triggers: tuple[str, ...]
    flags: tuple[str, ...]
    muons: Muons
    electrons: Electrons
    jets: Jets
    btag: BTag
    vbf: VBF
    geofit: tuple[float, float, float] | None
    prefiring: bool
    calibrations: Mapping[str, Any] = field(repr=False, hash=False)
    flags_where_present: tuple[str, ...] = ()
    for_publication: bool = True
    lacking: tuple[str, ...] = ()
    score_bins: tuple[float, ...] | None = None


def load_campaign(campaign: str | int | Path | Campaign) -> Campaign:
    """Load a campaign.

    Parameters
    ----------
    campaign
        A year (one of `CAMPAIGNS`), the path of a YAML file of the same form, or a `Campaign`.

    Raises
    ------
    InputError
        There is no such campaign or file, or a key in it is unknown, missing or of the wrong type.
    """
    if isinstance(campaign, Campaign):
        return campaign
    if str(campaign) in CAMPAIGNS:
        return _shipped(str(campaign))
    return _read(Path(campaign))  # type: ignore[arg-type]


@functools.cache
def _shipped(name: str) -> Campaign:
    """Return a campaign of the kit, read once: `analyse` asks for it for every chunk."""
    return _read(_FOLDER / f"{name}.yaml")


def _read(path: Path) -> Campaign:
    import yaml

    if path.suffix not in (".yaml", ".yml"):
        raise InputError(
            f"There is no campaign {str(path)!r}; the kit has {', '.join(CAMPAIGNS)}."
            f"{nearest(str(path), CAMPAIGNS)} Your own: the path of a YAML file like those in {_FOLDER}."
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"The campaign {path} cannot be read: {' '.join(str(error).split())}") from error
    campaign: Campaign = _parsed(Campaign, content, str(path), "")
    return campaign


_SECTIONS: dict[str, Any] = {
    "muons": Muons,
    "electrons": Electrons,
    "jets": Jets,
    "btag": BTag,
    "vbf": VBF,
    "jet_id": JetId,
    "pileup_id": PileupId,
    "tight": Tight,
}


def _parsed(cls: Any, content: Any, path: str, where: str) -> Any:
    """Return the section as an instance of its class; check keys and types."""
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: {where or 'the file'} must be a mapping of names to values.")
    known = {item.name: item for item in fields(cls)}
    for key in content:
        if key not in known:
            raise InputError(f"{path}: unknown key {where}{key}.{nearest(str(key), known)}")
    values: dict[str, Any] = {}
    for name, item in known.items():
        if name in content:
            values[name] = _value(name, str(item.type), content[name], path, where)
        elif item.default is MISSING:
            raise InputError(f"{path}: the key {where}{name} is missing.")
    return cls(**values)


def _value(name: str, kind: str, value: Any, path: str, where: str) -> Any:
    if value is None and "None" in kind:
        return None
    if name == "jet_id" and value == "fractions":
        return None
    if name in _SECTIONS:
        return _parsed(_SECTIONS[name], value, path, f"{where}{name}.")
    if name == "score_bins" and _are(value, (int, float)):
        if len(value) < 2 or any(low >= high for low, high in itertools.pairwise(value)):
            raise InputError(f"{path}: {where}{name} must be edges of bins in ascending order, not {value!r}.")
        return tuple(float(item) for item in value)
    if kind.startswith("tuple[float") and _are(value, (int, float)) and len(value) == kind.count("float"):
        return tuple(float(item) for item in value)
    if kind.startswith("tuple[str") and _are(value, str):
        return tuple(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind.startswith("float") and is_number:
        return float(value)
    if (kind == "int" and is_number and value == int(value)) or (kind == "bool" and isinstance(value, bool)):
        return value
    if (kind == "str" and isinstance(value, str)) or (kind.startswith("Mapping") and isinstance(value, Mapping)):
        return value
    raise InputError(f"{path}: {where}{name} is {value!r}, which is not of type {kind}.")


def _are(value: Any, kind: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) and not isinstance(item, bool) for item in value)
