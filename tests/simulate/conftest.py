"""Read simulated files and compare them; draw simulated NanoAOD without writing it, and select two muons."""

import functools

import awkward as ak
import numpy as np
import pytest
import uproot
import vector

from af_kit.simulate.nano import branches, recorded, sample
from af_kit.simulate.nano.campaigns import campaign
from af_kit.simulate.writer import Block, blocks

vector.register_awkward()


@functools.cache
def drawn(kind, year=2018, events=4000, seed=1):
    """Return events without writing a file."""
    of_year, of_kind = campaign(year), sample.KINDS[kind]
    schema = branches.schema(of_year, of_kind.weights, is_higgs=of_kind.is_higgs)
    draw = functools.partial(sample._draw, kind=kind, campaign=of_year, schema=schema, seed=seed, file_index=0)
    block = Block.joined(list(blocks(draw, schema, events, seed, 0, size=sample.BLOCK_ENTRIES)))
    fields = {}
    for name, values in block.columns.items():
        collection = schema.collection_of(name)
        fields[name] = ak.unflatten(values, block.counts[collection]) if collection else values
    return ak.Array(fields)


def collection(events, name, *, as_momentum=True):
    """Return a collection as records."""
    columns = {field.split("_", 1)[1]: events[field] for field in events.fields if field.startswith(f"{name}_")}
    return ak.zip(columns, with_name="Momentum4D" if as_momentum and "mass" in columns else None)


def pairs(events, year):
    """Return the events with two selected muons, and these muons."""
    limit = campaign(year)
    muons = collection(events, "Muon")
    muons["index"] = ak.local_index(muons)
    good = muons[(muons.pt > 20) & muons.mediumId & (muons.pfRelIso04_all < 0.25)]
    keep = (ak.num(good) == 2) & (ak.sum(good.charge, axis=1) == 0)
    keep = (
        ak.fill_none(keep & (ak.max(good.pt, axis=1) > limit.leading_pt), False) & events[f"HLT_IsoMu{limit.threshold}"]
    )
    return events[keep], good[keep]


def selected_jets(events, muons, year):
    """Return the jets that pass identification and are none of the muons."""
    jets = collection(events, "Jet")
    first, second = muons.index[:, 0], muons.index[:, 1]
    own = (jets.muonIdx1 == first) | (jets.muonIdx1 == second) | (jets.muonIdx2 == first) | (jets.muonIdx2 == second)
    good = (jets.pt > 25) & (abs(jets.eta) < 4.7) & (jets.jetId >= (1 if year == 2016 else 2))
    return jets[good & ((jets.puId >= 4) | (jets.pt > 50)) & ~own]


def mass(muons):
    return np.asarray((muons[:, 0] + muons[:, 1]).mass)


def certified(events, year):
    """Return the mask of the golden JSON."""
    run, lumi = np.asarray(events.run), np.asarray(events.luminosityBlock)
    ranges = recorded.golden_json(campaign(year)).items()
    return np.any([(run == int(of)) & (lumi >= a) & (lumi <= b) for of, rows in ranges for a, b in rows], axis=0)


@pytest.fixture(scope="session")
def tools():
    """The functions of this file."""

    class Tools:
        pass

    for function in (drawn, collection, pairs, selected_jets, mass, certified):
        setattr(Tools, function.__name__, staticmethod(function))
    return Tools


@pytest.fixture(scope="session")
def events():
    """``events(path)`` reads all events of a tree ``Events``."""

    def read(path):
        with uproot.open(path) as file:
            return file["Events"].arrays()

    return read


@pytest.fixture(scope="session")
def same():
    """``same(left, right)``: equal to the bit, types included."""

    def equal(left, right):
        return left.fields == right.fields and all(
            ak.array_equal(left[name], right[name], dtype_exact=True, equal_nan=True) for name in left.fields
        )

    return equal


@pytest.fixture(scope="session")
def masses():
    """``masses(sample)``: masses of events with exactly two muons, of opposite or of equal charge."""

    def of_pairs(sample, *, opposite=True):
        two = sample[sample.nMuon == 2]
        two = two[(ak.sum(two.Muon_charge, axis=1) == 0) == opposite]
        names = ("pt", "eta", "phi", "mass")
        pair = [
            vector.array({name: np.asarray(two[f"Muon_{name}"][:, i], np.float64) for name in names}) for i in (0, 1)
        ]
        return (pair[0] + pair[1]).mass

    return of_pairs
