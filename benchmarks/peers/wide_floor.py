"""The floor of the wide selection: decompression of its 22 branches."""

import functools

from benchmarks.peers import floor
from benchmarks.peers.floor import run, session  # noqa: F401
from benchmarks.wide import BRANCHES

prepare = functools.partial(floor.prepare, columns=BRANCHES)
