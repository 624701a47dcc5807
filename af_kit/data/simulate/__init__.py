"""Samples for a machine with no network, from a seed: `dimuon`, `nanoaod`; `write_files` makes several files of one."""

from af_kit.data.simulate.dimuon import dimuon
from af_kit.data.simulate.files import SAMPLES, write_files
from af_kit.data.simulate.nanoaod import nanoaod

__all__ = ["dimuon", "nanoaod", "SAMPLES", "write_files"]
