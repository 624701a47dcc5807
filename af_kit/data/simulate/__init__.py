"""Samples for a machine with no network, each from a seed: `dimuon`, and `write_files` for several files of one."""

from af_kit.data.simulate.dimuon import dimuon
from af_kit.data.simulate.files import SAMPLES, write_files

__all__ = ["dimuon", "SAMPLES", "write_files"]
