"""`jit` under its name for analyses."""

from af_kit.data.jit import Kernel, jit

__all__ = ["Kernel", "jit"]
