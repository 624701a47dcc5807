"""Samples for a machine with no network, from a seed: `dimuon`, `nanoaod`, `dsphipi`.

`write_files` makes several files of one, `write_eras` those of several eras of data taking; `muon_scale_factors` goes
with a simulation of them.
"""

from af_kit.simulate.dimuon import dimuon
from af_kit.simulate.dsphipi import dsphipi
from af_kit.simulate.files import SAMPLES, write_eras, write_files
from af_kit.simulate.muon_sf import muon_scale_factors
from af_kit.simulate.nanoaod import nanoaod

__all__ = ["dimuon", "dsphipi", "nanoaod", "SAMPLES", "muon_scale_factors", "write_eras", "write_files"]
