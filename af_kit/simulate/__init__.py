"""Simulated samples for tests and tutorials, reproducible from a seed: `dimuon`, `nanoaod`, `dsphipi`.

`write_files` writes several files of a sample, and `write_eras` files of several data-taking eras; `muon_scale_factors`
writes matching scale factors for simulation. `write_hmumu` writes a whole H -> mu mu analysis: data, simulation and a
fileset; `calibrations` the calibration files that go with them.
"""

from af_kit.simulate.calibrations import calibrations
from af_kit.simulate.dimuon import dimuon
from af_kit.simulate.dsphipi import dsphipi
from af_kit.simulate.files import SAMPLES, write_eras, write_files
from af_kit.simulate.hmumu import write_hmumu
from af_kit.simulate.muon_sf import muon_scale_factors
from af_kit.simulate.nanoaod import nanoaod

__all__ = [
    "dimuon",
    "dsphipi",
    "nanoaod",
    "SAMPLES",
    "calibrations",
    "muon_scale_factors",
    "write_eras",
    "write_files",
    "write_hmumu",
]
