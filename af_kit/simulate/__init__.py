"""Simulated samples for tests and tutorials, reproducible from a seed: `dimuon`, `nanoaod`, `dsphipi`.

`write_files` writes several files of a sample, and `write_eras` files of several data-taking eras; `muon_scale_factors`
writes matching scale factors for simulation.
"""

from af_kit.simulate.dimuon import dimuon
from af_kit.simulate.dsphipi import dsphipi
from af_kit.simulate.files import SAMPLES, write_eras, write_files
from af_kit.simulate.muon_sf import muon_scale_factors
from af_kit.simulate.nanoaod import nanoaod

__all__ = ["dimuon", "dsphipi", "nanoaod", "SAMPLES", "muon_scale_factors", "write_eras", "write_files"]
