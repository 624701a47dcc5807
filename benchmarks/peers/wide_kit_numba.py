"""The wide selection with the kit and one compiled loop over the events."""

import math

import numba
import numpy as np
from hist import Hist

import af_kit as af
from benchmarks.peers.kit_awkward import session  # noqa: F401
from benchmarks.peers.wide_kit_awkward import process

MUON = ("pt", "eta", "phi", "mass", "charge", "mediumId", "pfRelIso04_all")
ELECTRON = ("pt", "eta", "mvaFall17V2Iso_WP90")
JET = ("pt", "eta", "phi", "mass", "jetId", "puId", "btagDeepB")

compiled = numba.njit(cache=True, nogil=True, error_model="numpy")


@compiled
def pair_mass(pt, eta, phi, mass, i, j):
    energy = px = py = pz = 0.0
    for k in (i, j):
        transverse, m = np.float64(pt[k]), np.float64(mass[k])
        along = transverse * math.sinh(np.float64(eta[k]))
        energy += math.sqrt(transverse**2 + along**2 + m**2)
        px += transverse * math.cos(np.float64(phi[k]))
        py += transverse * math.sin(np.float64(phi[k]))
        pz += along
    return math.sqrt(max(energy**2 - px**2 - py**2 - pz**2, 0.0))


@compiled
def two_muons(start, stop, pt, eta, charge, medium, isolation):
    """Return the two selected muons, or (-1, -1)."""
    first = second = -1
    for k in range(start, stop):
        if pt[k] > 20 and abs(eta[k]) < 2.4 and medium[k] and isolation[k] < 0.25:
            if first < 0:
                first = k
            elif second < 0:
                second = k
            else:
                return -1, -1
    if second < 0 or charge[first] + charge[second] != 0 or max(pt[first], pt[second]) <= 26:
        return -1, -1
    return first, second


@compiled
def any_electron(start, stop, pt, eta, good):
    for k in range(start, stop):  # noqa: SIM110 (numba compiles no generator)
        if pt[k] > 20 and abs(eta[k]) < 2.5 and good[k]:
            return True
    return False


@compiled
def two_jets(start, stop, pt, eta, jet_id, pileup_id, btag):
    """Return whether the event passes the b veto, and its two leading selected jets or -1."""
    first = second = -1
    loose = medium = 0
    for k in range(start, stop):
        if pt[k] > 25 and abs(eta[k]) < 4.5 and jet_id[k] >= 2 and (pileup_id[k] >= 4 or pt[k] > 50):
            if abs(eta[k]) < 2.5:
                loose += btag[k] > 0.1241
                medium += btag[k] > 0.4184
            if first < 0:
                first = k
            elif second < 0:
                second = k
    return loose < 2 and medium == 0, first, second


@compiled
def select(event, muon_at, muon, electron_at, electron, jet_at, jet):
    """Return the masses of the dimuons, and of the dijets of the VBF candidates."""
    dimuon, dijet = np.empty(event.size), np.empty(event.size)
    n_dimuon = n_dijet = 0
    mu_pt, mu_eta, mu_phi, mu_mass, charge, medium, isolation = muon
    jet_pt, jet_eta, jet_phi, jet_mass, jet_id, pileup_id, btag = jet
    for i in range(event.size):
        if not event[i]:
            continue
        a, b = two_muons(muon_at[i], muon_at[i + 1], mu_pt, mu_eta, charge, medium, isolation)
        if a < 0 or any_electron(electron_at[i], electron_at[i + 1], *electron):
            continue
        veto, c, d = two_jets(jet_at[i], jet_at[i + 1], jet_pt, jet_eta, jet_id, pileup_id, btag)
        if not veto:
            continue
        dimuon[n_dimuon] = pair_mass(mu_pt, mu_eta, mu_phi, mu_mass, a, b)
        n_dimuon += 1
        if d >= 0 and jet_pt[c] > 35 and abs(jet_eta[c] - jet_eta[d]) > 2.5:
            dijet[n_dijet] = pair_mass(jet_pt, jet_eta, jet_phi, jet_mass, c, d)
            n_dijet += 1
    return dimuon[:n_dimuon], dijet[:n_dijet]


def analyse(events):
    collections = []
    for name, fields in (("Muon", MUON), ("Electron", ELECTRON), ("Jet", JET)):
        content = af.flat(events[name], *fields)
        collections += [content.offsets, tuple(content.fields[field] for field in fields)]
    event = np.asarray(events.HLT.IsoMu24) & np.asarray(events.Flag.goodVertices)
    dimuon, dijet = select(event, *collections)
    return {
        "dimuon_mass": Hist.new.Reg(100, 0, 200, name="mass").Int64().fill(dimuon),
        "dijet_mass": Hist.new.Reg(100, 400, 4400, name="mass").Int64().fill(dijet),
    }


def run(client, files, treename, chunk_entries):
    return process(client, files, treename, chunk_entries, analyse)
