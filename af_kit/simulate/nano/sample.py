"""Files of one kind of sample: simulation of a process, or data, in a year."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.simulate.nano import (
    branches,
    conditions,
    electrons,
    generated,
    hard,
    jets,
    muons,
    recorded,
    run3,
    tables,
    weights,
)
from af_kit.simulate.nano.bookkeeping import Bookkeeping
from af_kit.simulate.nano.campaigns import Campaign, campaign
from af_kit.simulate.nano.hard import ALL_LEPTONS, Boson, Process
from af_kit.simulate.nano.weights import Weights
from af_kit.simulate.writer import Block, Schema, blocks, check_count, write_tree

BLOCK_ENTRIES = 4000
"""Events are drawn in blocks of this size; see `af_kit.simulate.writer.blocks`."""


@dataclass(frozen=True)
class Kind:
    """A kind of sample.

    Attributes
    ----------
    process : function
        ``process(generator, events)`` draws the hard process.
    weights : Weights, optional
        The generator's weights; None for data.
    soft_jets : float
        Mean number of soft-activity jets; few where no colour is exchanged.
    is_higgs : bool
        With the branches of simplified template cross-sections.
    is_old : bool
        Sums of weights have the names of older files, ``genEventSumw_``.
    """

    process: Process
    weights: Weights | None
    soft_jets: float = 5.0
    is_higgs: bool = False
    is_old: bool = False


DATA_SHARES = {"dy": 0.037, "ttbar": 86.65, "diboson": sum(hard.DIBOSONS_PB.values()), "ewkzjj": 3.998}
"""What of the data is simulated too: the share of Z to mu mu, and the cross-sections of the others in pb, which the
data contain in proportion. The other events have one muon of a W boson or of a bottom quark."""
DY_PB = 5765.40
"""Cross-section of Drell-Yan with m > 50 in pb, for all three flavours."""


def data_lumi_ipb(events: int) -> float:
    """Return the luminosity in 1/pb to which ``events`` simulated events of data correspond, certified or not."""
    return events * DATA_SHARES["dy"] / (DY_PB / 3)


def _data() -> Process:
    per_pb = data_lumi_ipb(1)
    others = {name: per_pb * pb for name, pb in DATA_SHARES.items() if name != "dy"}
    processes: dict[str, Process] = {
        "ttbar": hard.top_pairs,
        "diboson": hard.dibosons,
        "ewkzjj": Boson(23, (50, 500), ALL_LEPTONS, is_tagged=True, jets=0.8, gluons=0.3),
    }
    shares: list[tuple[Process, float]] = [
        (Boson(23, (50, 500)), DATA_SHARES["dy"]),
        *((processes[name], share) for name, share in others.items()),
    ]
    return hard.mixture([*shares, (hard.single_muons, 1 - sum(share for _, share in shares))])


_DY_WEIGHTS = Weights(size=23_000.0, negative=0.16)
KINDS: dict[str, Kind] = {
    "data": Kind(_data(), None),
    "data-doublemuon": Kind(hard.mixture([(hard.low_mass_pairs, 0.7), (Boson(23, (50, 500)), 0.3)]), None),
    "dy": Kind(Boson(23, (50, 500), ALL_LEPTONS), _DY_WEIGHTS),
    "dy-m105-160": Kind(Boson(23, (105, 160), ALL_LEPTONS, forward=0.97), _DY_WEIGHTS),
    "dy-m105-160-vbf": Kind(Boson(23, (105, 160), ALL_LEPTONS, forward=0.97, least_dijet_mass=350), _DY_WEIGHTS),
    "ewkzjj": Kind(
        Boson(23, (105, 160), ALL_LEPTONS, is_tagged=True, jets=0.8, gluons=0.3),
        Weights(scales=44, pdf=(262000, 262100)),
        soft_jets=1.5,
        is_old=True,
    ),
    "ttbar": Kind(hard.top_pairs, Weights(size=72.0, negative=0.004, pdf=(306000, 306102)), soft_jets=7.0),
    "diboson": Kind(hard.dibosons, Weights(scales=8), soft_jets=5.0),
    "ggh-hmumu": Kind(
        Boson(25, (124.9, 125.1), jets=3.6, soft=9.0, gluons=0.75), Weights(negative=0.01), 7.0, is_higgs=True
    ),
    "vbf-hmumu": Kind(
        Boson(25, (124.9, 125.1), is_tagged=True, jets=0.8, gluons=0.3), Weights(), soft_jets=1.5, is_higgs=True
    ),
}
"""Name to kind of sample."""


def write_sample(
    path: str | Path,
    entries: int,
    seed: int,
    *,
    kind: str,
    year: int,
    file_index: int = 0,
    cluster_entries: int = 20_000,
    compression: str = "ZSTD-5",
    format: str = "ttree",
) -> Path:
    """Write a ROOT file of simulated data or simulation, with the trees Events, LuminosityBlocks and Runs.

    Parameters
    ----------
    path, entries, seed, file_index, cluster_entries, compression
        As in `af_kit.simulate.nanoaod`.
    kind : str
        One of `KINDS`.
    year : int
        2016, 2017, 2018 or 2022.
    format : str
        ``"ttree"`` or ``"rntuple"``.

    Raises
    ------
    InputError
        If a number is negative or not an integer, an option has no such value, or the file cannot be written.
    """
    check_count("entries", entries)
    check_count("seed", seed)
    check_count("file_index", file_index)
    sample, of_year = KINDS[kind], campaign(year)
    schema = branches.schema(of_year, sample.weights, is_higgs=sample.is_higgs)
    drawing = partial(_draw, kind=kind, campaign=of_year, schema=schema, seed=seed, file_index=file_index)
    bookkeeping = Bookkeeping(is_data=sample.weights is None, suffix="_" if sample.is_old else "")

    def counted() -> Iterator[Block]:
        for block in blocks(drawing, schema, entries, seed, file_index, size=BLOCK_ENTRIES):
            bookkeeping.add(block)
            yield block

    return write_tree(
        path,
        schema,
        counted(),
        cluster_entries=cluster_entries,
        compression=compression,
        kind=format,
        finish=lambda file: bookkeeping.write(file, format),
    )


def _draw(
    generator: np.random.Generator,
    first: int,
    number: int,
    *,
    kind: str,
    campaign: Campaign,
    schema: Schema,
    seed: int,
    file_index: int,
) -> Block:
    if KINDS[kind].weights is not None:
        return simulate(
            generator, KINDS[kind], campaign, schema, recorded.simulated_numbers(first, number, file_index=file_index)
        )
    numbers = recorded.numbers(campaign, first, number, file_index=file_index)
    if kind == "data":
        return simulate(generator, KINDS[kind], campaign, schema, numbers)
    return _double_muon(generator, first, number, campaign, schema, seed, file_index)


def _double_muon(
    generator: np.random.Generator,
    first: int,
    number: int,
    campaign: Campaign,
    schema: Schema,
    seed: int,
    file_index: int,
) -> Block:
    """Return events of double-muon triggers: those that the single-muon dataset has too, and others.

    The shared ones are drawn again exactly as for the file of the same seed and index with ``kind="data"``.
    """
    again = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(file_index, first // number)))
    numbers = recorded.numbers(campaign, first, number, file_index=file_index)
    shared = simulate(again, KINDS["data"], campaign, schema, numbers)
    shared = select(shared, schema, np.flatnonzero(shared.columns[conditions.DOUBLE_MUON]))
    numbers["event"] += np.uint64(1 << 32)
    own = simulate(generator, KINDS["data-doublemuon"], campaign, schema, numbers)
    for name in ("HLT_IsoMu20", "HLT_IsoMu24", "HLT_IsoMu27", "HLT_IsoMu30", "HLT_IsoTkMu24", "HLT_Mu27", "HLT_Mu50"):
        if name in own.columns:  # else the event would be in the single-muon dataset
            own.columns[name][:] = False
    own.columns[conditions.DOUBLE_MUON][:] = True
    return Block.joined([shared, own.part(schema, 0, number - shared.entries)])


def simulate(
    generator: np.random.Generator, kind: Kind, campaign: Campaign, schema: Schema, numbers: dict[str, NDArray[Any]]
) -> Block:
    """Draw events with these run, luminosityBlock and event numbers: collision, detector, and all branches."""
    is_data = kind.weights is None
    events = int(numbers["event"].size)
    truth = kind.process(generator, events)
    hadronic = tables.join(*truth.jets)
    hadronic = tables.take(hadronic, tables.by_pt(hadronic))
    muons.from_jets(generator, truth.particles, hadronic)
    particles = truth.particles.table()
    pileup = conditions.draw(generator, numbers["run"], campaign, is_data=is_data)

    found_muons = muons.reconstruct(generator, particles, events, campaign, is_data=is_data)
    photons, cone = muons.photons(generator, particles, found_muons)
    muons.isolate(generator, found_muons, cone, pileup.interactions)
    found_electrons = electrons.reconstruct(generator, particles, events)
    found_jets = jets.reconstruct(generator, hadronic, found_muons, found_electrons, pileup, campaign, is_data=is_data)
    soft, activity = conditions.soft_activity(generator, events, found_muons, found_jets, kind.soft_jets)
    columns = {**numbers, **activity}
    columns |= conditions.columns(generator, truth, pileup, found_muons, is_data=is_data)
    columns |= conditions.triggers(generator, found_muons, found_electrons, events, campaign, is_data=is_data)
    collections = {
        "Muon": found_muons, "FsrPhoton": photons, "Electron": found_electrons, "Jet": found_jets,
        "SoftActivityJet": soft,
    }  # fmt: skip
    counts: dict[str, NDArray[np.uint32]] = {}
    if kind.weights is not None:
        collections["GenPart"] = generated.particles(particles, found_muons, found_electrons)
        collections["GenJet"] = generated.jets(hadronic, particles, found_jets)
        collections["GenJet"] |= {
            "partonFlavour": collections["GenJet"]["parton"], "hadronFlavour": collections["GenJet"]["hadron"]
        }  # fmt: skip
        columns |= weights.columns(generator, truth, kind.weights)
        columns |= weights.beams(generator, truth, hadronic)
        columns |= {
            "Pileup_nTrueInt": pileup.true,
            "Pileup_nPU": pileup.interactions,
            "Pileup_sumEOOT": generator.poisson(4 * pileup.true),
            "Pileup_sumLOOT": generator.poisson(2 * pileup.true),
        }
        columns |= conditions.prefiring(found_jets, events) | weights.higgs(truth, hadronic)
        sizes = {"LHEScaleWeight": kind.weights.scales, "LHEPdfWeight": kind.weights.pdf_members, "PSWeight": 4}
        counts |= {name: np.full(events, size, np.uint32) for name, size in sizes.items()}
    source = {name: run3.SOURCES.get(name, name) for name in schema.columns}
    wanted = set(source.values())
    for prefix, table in collections.items():
        counts[prefix] = tables.counts(table, events)
        columns |= {f"{prefix}_{name}": values for name, values in table.items() if f"{prefix}_{name}" in wanted}
    typed = {
        name: tables.stored(columns[source[name]]) if dtype == "float32" else columns[source[name]].astype(dtype)
        for name, dtype in schema.columns.items()
    }
    return Block(events, counts, typed)


def select(block: Block, schema: Schema, chosen: NDArray[np.intp]) -> Block:
    """Return some of the events of a block."""
    is_chosen = np.zeros(block.entries, bool)
    is_chosen[chosen] = True
    columns = {}
    for name, values in block.columns.items():
        collection = schema.collection_of(name)
        columns[name] = values[np.repeat(is_chosen, block.counts[collection]) if collection else is_chosen]
    return Block(chosen.size, {name: counts[is_chosen] for name, counts in block.counts.items()}, columns)
