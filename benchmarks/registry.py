"""The peers: their packages, and the files that run them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True)
class Peer:
    """A tool that reads the files and fills the histograms."""

    name: str
    label: str
    needs: tuple[str, ...] = ()
    """Distributions in addition to the kit's dependencies."""
    programs: tuple[str, ...] = ()
    """Programs of the system."""
    workloads: tuple[str, ...] = ("dimuon",)
    kit: bool = False
    """Whether it has targets and is part of the scan."""
    default: tuple[str, ...] = ()
    """The variants on which it runs if `--only` does not name it; all of them if empty."""
    cannot: Mapping[str, str] = field(default_factory=dict)
    """Variants that the peer cannot read, with the reason."""

    def module(self, workload: str) -> str:
        """Return the name of the file in benchmarks/peers."""
        return self.name if workload == "dimuon" else f"{workload}_{self.name}"

    def missing(self) -> list[str]:
        """Return the distributions and programs that are not here."""
        absent = [name for name in self.needs if installed(name) is None]
        return absent + [name for name in self.programs if shutil.which(name) is None]


def installed(distribution: str) -> str | None:
    """Return the version of a distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


BOTH = ("dimuon", "wide")
ALL = (*BOTH, "dsphipi")
EVERY = (*ALL, "hmumu")
REMOTE = {f"wide-{milliseconds}ms": milliseconds for milliseconds in (0, 20, 100)}
"""Variants of the wide files on a server, with the round trip in milliseconds. Server and relay share the processors of
the machine with the tools; the variant without a distance shows what that costs."""
SPARK = ("pyspark", "py4j")
PEERS = (
    Peer("delayed", "delayed graph of uproot reads, on Dask"),
    Peer("coffea_runner", "coffea Runner, DaskExecutor", workloads=EVERY),
    Peer(
        "uproot_dask",
        "uproot.dask (dask-awkward)",
        ("dask-awkward", "dask-histogram"),
        cannot={"rntuple": "an RNTuple cannot be sent to workers (KeyError: '__setstate__')"},
    ),
    Peer(
        "rdataframe",
        "ROOT RDataFrame, implicit multithreading",
        ("ROOT",),
        workloads=EVERY,
        cannot=dict.fromkeys(REMOTE, "ROOT's wheel has no XRootD client"),
    ),
    Peer("rdataframe_dask", "ROOT RDataFrame on Dask", ("ROOT",)),
    Peer("rdataframe_spark", "ROOT RDataFrame on Spark", ("ROOT", *SPARK), ("java",), default=("zstd",)),
    Peer("kit_awkward", "af-kit, awkward", workloads=ALL, kit=True),
    Peer("kit_numba", "af-kit, numba kernel", workloads=ALL, kit=True),
    Peer("kit_spark", "af-kit on Spark, numba kernel", SPARK, ("java",), default=("zstd",)),
    Peer("kit_filling", "af-kit, numba kernel, fills its cache", workloads=("wide",), default=("wide-20ms",)),
    Peer("kit_cached", "af-kit, numba kernel, from its cache", workloads=("wide",), default=("wide-20ms",)),
    Peer("kit", "af-kit, the analysis of the kit", workloads=("hmumu",), kit=True),
    Peer(
        "floor",
        "floor: only decompression of the needed bytes",
        workloads=BOTH,
        cannot=dict.fromkeys(REMOTE, "it measures no transfer"),
    ),
)
