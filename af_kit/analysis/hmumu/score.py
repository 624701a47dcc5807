"""Score events with the four networks of `network.train`: only ONNX Runtime is needed.

Events are divided into four folds by their number modulo 4. The network of a fold has not seen its events: it is
trained on the next two folds, and stopped by the third. So every event, also one that was trained on, has an unbiased
score.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from af_kit.analysis.hmumu.campaign import Campaign
from af_kit.analysis.hmumu.regions import REGIONS
from af_kit.errors import InputError, MissingExtraError, nearest

__all__ = ["FOLDS", "INPUTS", "Network", "Parts", "check_scored", "fold_of", "inputs_of", "load_network", "parts_of"]

Floats = NDArray[np.float64]
Columns = Callable[[str], NDArray[Any]]

FOLDS = 4

INPUTS = (
    "dimuon_mass", "dimuon_pt", "log_dimuon_pt", "dimuon_eta",
    "dimuon_mass_resolution", "dimuon_mass_relative_resolution", "cos_theta_cs", "phi_cs",
    "jet1_pt", "jet1_eta", "jet1_phi", "jet1_qgl", "jet2_pt", "jet2_eta", "jet2_phi", "jet2_qgl",
    "dijet_mass", "log_dijet_mass", "dijet_delta_eta", "pt_balance", "log_zeppenfeld", "min_delta_eta",
    "soft_jets_5", "soft_ht_2", "year",
)  # fmt: skip
"""The inputs of the networks, in their order. Names are those of the table's columns; see `inputs_of` for the rest."""

FIXED_MASS = 125.0
"""The dimuon mass that the networks see outside the signal region [GeV]."""

# |z*| has no upper bound, and is 0/0 for two jets of the same rapidity.
_ZEPPENFELD = (1e-4, 1e2)

# Below it [GeV] a logarithm says nothing more.
_LEAST = 1e-3

# Rows that a network evaluates at a time: a multiple of _PADDING, and few enough for the processor's cache.
_ROWS = 4096
# The last digits of a vector instruction depend on how many of its lanes are in use. Rows are padded to a multiple of
# this number, so that the score of an event does not depend on the other events of its chunk.
_PADDING = 64


class Parts(NamedTuple):
    """The folds that the network of a fold is trained on, is stopped by, and scores."""

    training: tuple[int, int]
    validation: int
    scored: int


def parts_of(fold: int) -> Parts:
    """Return what the network of a fold does with each fold."""
    training = (fold + 1) % FOLDS, (fold + 2) % FOLDS
    return Parts(training, (fold + 3) % FOLDS, fold)


def fold_of(event: Any) -> NDArray[np.int64]:
    """Return the fold of events: their number modulo 4, as an unsigned integer of 64 bits.

    Numbers that were read as signed, and are therefore negative above 2**63, have the same fold.

    Raises
    ------
    InputError
        The numbers are not integers: a float cannot hold those above 2**53, and gives them another fold.
    """
    numbers = np.asarray(event)
    if numbers.dtype.kind not in "iu":
        raise InputError(
            f"Event numbers are of type {numbers.dtype}; the fold of an event needs integers, because a float does not "
            "hold all numbers above 2**53. Read `event` as uint64."
        )
    return (numbers.astype(np.uint64) % np.uint64(FOLDS)).astype(np.int64)


def inputs_of(column: Columns, *, region: NDArray[np.int8], year: int | NDArray[Any]) -> NDArray[np.float32]:
    """Return the inputs of the networks, one row per event, in the order of `INPUTS`.

    Outside the signal region the dimuon mass is `FIXED_MASS`, also in the absolute resolution: otherwise a network
    could learn the region from the mass, and the sidebands would say nothing about the background's scores.

    Parameters
    ----------
    column
        Returns a variable by its name, as in the table of selected events. Events need two jets.
    region
        Numbers in `REGIONS`.
    year
        The year of data-taking, of all events or of each.
    """
    mass = np.where(region == REGIONS.index("signal"), column("dimuon_mass"), FIXED_MASS)
    relative = column("dimuon_mass_resolution") / column("dimuon_mass")
    zeppenfeld = np.fmin(np.fmax(np.abs(column("zeppenfeld")), _ZEPPENFELD[0]), _ZEPPENFELD[1])
    derived = {
        "dimuon_mass": mass,
        "dimuon_mass_resolution": relative * mass,
        "dimuon_mass_relative_resolution": relative,
        "log_dimuon_pt": np.log(np.maximum(column("dimuon_pt"), _LEAST)),
        "log_dijet_mass": np.log(np.maximum(column("dijet_mass"), _LEAST)),
        "log_zeppenfeld": np.log(zeppenfeld),
        "year": year,
    }
    matrix = np.empty((mass.size, len(INPUTS)), np.float32)
    for position, name in enumerate(INPUTS):
        matrix[:, position] = derived[name] if name in derived else column(name)
    return matrix


@dataclass(frozen=True)
class Network:
    """Four trained networks, one for each fold.

    It travels to the workers inside the function, so its content is part of a checkpoint's key.

    Attributes
    ----------
    models : tuple of bytes
        ONNX models, by the fold that they score.
    years : tuple of int
        The years of the samples that they were trained on.
    """

    models: tuple[bytes, ...]
    years: tuple[int, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the models, in hexadecimal."""
        return hashlib.sha256(b"".join(self.models)).hexdigest()

    def __repr__(self) -> str:
        return f"<Network {self.digest[:12]}: trained on {', '.join(map(str, self.years))}>"

    def output(self, matrix: NDArray[np.float32], event: Any) -> Floats:
        """Return the output of the networks, between 0 (background) and 1 (signal), for rows of inputs.

        Each row is evaluated by the network of its fold. The result of a row does not depend on other rows.

        Raises
        ------
        InputError
            An input is not a finite number.
        """
        if not np.isfinite(matrix).all():
            row, position = np.argwhere(~np.isfinite(matrix))[0]
            raise InputError(
                f"{INPUTS[position]} of event {np.asarray(event)[row]} is {matrix[row, position]}: the network cannot "
                "score it."
            )
        fold, result = fold_of(event), np.empty(len(matrix))
        for number, model in enumerate(self.models):
            rows = np.flatnonzero(fold == number)
            result[rows] = _evaluated(model, matrix[rows])
        return result

    def scores(self, column: Columns, *, event: Any, region: NDArray[np.int8], year: int) -> Floats:
        """Return arctanh of the networks' output for events with two jets.

        Parameters
        ----------
        column, region, year
            As for `inputs_of`.
        event
            Event numbers.
        """
        return transformed(self.output(inputs_of(column, region=region, year=year), event))


def transformed(output: Floats) -> Floats:
    """Return arctanh of an output, which spreads those near 1; finite also where rounding makes the output 1."""
    return np.arctanh(np.minimum(output, 1 - 2.0**-24))


def _evaluated(model: bytes, matrix: NDArray[np.float32]) -> Floats:
    session, result = _session(model), np.empty(len(matrix))
    for start in range(0, len(matrix), _ROWS):
        rows = matrix[start : start + _ROWS]
        padded = np.zeros((-(-len(rows) // _PADDING) * _PADDING, matrix.shape[1]), np.float32)
        padded[: len(rows)] = rows
        result[start : start + len(rows)] = session.run(None, {session.get_inputs()[0].name: padded})[0][: len(rows), 0]
    return result


@functools.lru_cache(maxsize=4 * FOLDS)
def _session(model: bytes) -> Any:
    """Return an ONNX session on one thread (a worker already runs one task per core); made once per process."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError('Networks need onnxruntime: pip install "af-kit[models]"') from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def check_scored(network: Network, campaign: Campaign) -> None:
    """Raise an InputError if events of a campaign cannot be scored: it has no bins, or the network has not its year."""
    if campaign.score_bins is None:
        raise InputError(
            f"The campaign {campaign.name} has no bins for the score: add score_bins, edges in ascending order, to its "
            "file, or run without a network."
        )
    if campaign.year not in network.years:
        raise InputError(
            f"The network was trained on {', '.join(map(str, network.years))}, and the campaign is of {campaign.year}: "
            f"its score would mean nothing. Train it on results of {campaign.year} as well."
        )


def load_network(folder: str | Path) -> Network:
    """Load the networks of a folder that ``af-kit train hmumu`` has written, and check them.

    Raises
    ------
    InputError
        A file is missing or damaged, is of another training or another fold, or the network has other inputs.
    """
    folder = Path(folder)
    try:
        about = json.loads((folder / "network.json").read_text(encoding="utf-8"))
        folds, years = about["folds"], tuple(int(year) for year in about["years"])
        if [fold["fold"] for fold in folds] != list(range(FOLDS)):
            raise ValueError(f"it does not list the folds 0 to {FOLDS - 1}")
        digests = [str(fold["sha256"]) for fold in folds]
        inputs = tuple(about["inputs"])
    except FileNotFoundError:
        raise InputError(
            f"{folder} is not the folder of a network: it has no network.json. Write one with "
            "af-kit train hmumu RESULTS --out NETWORK."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder / 'network.json'} cannot be used: {_reason(error)}. Train the network again."
        ) from error
    _check_inputs(inputs, str(folder / "network.json"))
    return Network(tuple(_model(folder, fold, digests[fold]) for fold in range(FOLDS)), years)


def _reason(error: Exception) -> str:
    return f"the key {error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())


def _check_inputs(inputs: Sequence[str], where: str) -> None:
    unknown = [name for name in inputs if name not in INPUTS]
    missing = [name for name in INPUTS if name not in inputs]
    if unknown:
        raise InputError(f"{where}: the network has the unknown input {unknown[0]!r}.{nearest(unknown[0], INPUTS)}")
    if missing:
        raise InputError(f"{where}: the network does not have the input(s) {', '.join(missing)}. Train it again.")
    if tuple(inputs) != INPUTS:
        raise InputError(f"{where}: the network has its inputs in another order. Train it again.")


def _model(folder: Path, fold: int, digest: str) -> bytes:
    path = folder / f"fold{fold}.onnx"
    try:
        model = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror or error}): a network has one file for each of its {FOLDS} folds. "
            "Copy the whole folder, or train the network again."
        ) from error
    if hashlib.sha256(model).hexdigest() != digest:
        raise InputError(
            f"{path} is damaged, or of another training than network.json beside it. Copy the folder again."
        )
    try:
        session = _session(model)
        about = session.get_modelmeta().custom_metadata_map
        shape = session.get_inputs()[0].shape
    except MissingExtraError:
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be loaded as ONNX: {_reason(error)[:300]}") from error
    if about.get("fold") != str(fold):
        raise InputError(
            f"{path} is the network of fold {about.get('fold')}, not {fold}: it has seen events of its fold."
        )
    _check_inputs(json.loads(about.get("inputs", "[]")), str(path))
    if shape[-1] != len(INPUTS):
        raise InputError(f"{path} takes {shape[-1]} inputs, not {len(INPUTS)}. Train the network again.")
    return model
