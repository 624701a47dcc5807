"""The files of the benchmarks: the same simulated events in each variant.

ROOT writes the files, because the layout matters: clusters of 100 000 entries, baskets whose size ROOT adapts after the
first cluster, and jagged branches with a counter (`Muon_pt[nMuon]`), as in the CMS open data. Without the ROOT wheel,
the kit's own simulation writes them.
"""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

import numpy as np

TREENAME = "Events"
TREENAMES = {"dsphipi": "Tree3Mu/ntuple"}
CLUSTER_ENTRIES = 100_000
WIDE_CLUSTER_ENTRIES = 50_000  # the same number of bytes per cluster as in NanoAOD files
N_FILES = 4
SEED = 20_250

# ROOT's code: 100 * algorithm + level. The levels are those of CMS NanoAOD (ZLIB-1 in the open data, ZSTD-5 today);
# LZMA at 5, because 9 takes minutes to write and reads at the same speed.
VARIANTS = {
    "zlib": ("ZLIB", 1),
    "zstd": ("ZSTD", 5),
    "lz4": ("LZ4", 4),
    "lzma": ("LZMA", 5),
    "rntuple": ("ZSTD", 5),
}
MANY_ENTRIES = 5000
"""Events of each file of the variant with many files."""
HMUMU_SHARES = {"data": 0.4, "dy": 0.3, "ttbar": 0.2, "vbf-hmumu": 0.1}
"""The files of the H -> mu mu selection: what each contains, and its share of the events. Most events are of the kinds
on which an analysis of the full data spends its time, and yet every region and channel has events."""
HMUMU_DRAWN = 2_000_000
"""Drawing events takes minutes: for a multiple of this number, ROOT copies their baskets several times."""

_COLUMNS = [("pt", np.float32), ("eta", np.float32), ("phi", np.float32), ("mass", np.float32), ("charge", np.int32)]
CODES = {"ZLIB": 100, "LZMA": 200, "LZ4": 400, "ZSTD": 500}

WRITER = """
void af_bench_write(const std::string &path, long entries, const std::uint32_t *counts, const float *pt,
                    const float *eta, const float *phi, const float *mass, const std::int32_t *charge,
                    int compression, long cluster) {
    TFile file(path.c_str(), "RECREATE", "", compression);
    auto tree = new TTree("Events", "Events");   // owned by the file
    constexpr std::uint32_t kMost = 256;
    std::uint32_t n = 0;
    float buffer[4][kMost];
    std::int32_t signs[kMost];
    tree->Branch("nMuon", &n, "nMuon/i");
    tree->Branch("Muon_pt", buffer[0], "Muon_pt[nMuon]/F");
    tree->Branch("Muon_eta", buffer[1], "Muon_eta[nMuon]/F");
    tree->Branch("Muon_phi", buffer[2], "Muon_phi[nMuon]/F");
    tree->Branch("Muon_mass", buffer[3], "Muon_mass[nMuon]/F");
    tree->Branch("Muon_charge", signs, "Muon_charge[nMuon]/I");
    tree->SetAutoFlush(cluster);
    const float *columns[4] = {pt, eta, phi, mass};
    long start = 0;
    for (long entry = 0; entry < entries; ++entry) {
        n = counts[entry];
        if (n > kMost) throw std::runtime_error("too many muons for the buffers of the writer");
        for (int column = 0; column < 4; ++column) std::copy_n(columns[column] + start, n, buffer[column]);
        std::copy_n(charge + start, n, signs);
        start += n;
        tree->Fill();
    }
    file.Write();
}
"""


def has_root() -> bool:
    return importlib.util.find_spec("ROOT") is not None


def dimuon(folder: Path, variant: str, entries: int, *, n_files: int = N_FILES, seed: int = SEED) -> list[str]:
    """Return the paths of `n_files` files with `entries` events in total; write the files that do not exist."""
    folder = folder / f"dimuon-{entries}-{seed}" / variant
    return _files(folder, functools.partial(_write_dimuon, variant, seed), _equal(entries, n_files))


def many(folder: Path, entries: int, *, seed: int = SEED) -> list[str]:
    """Return the paths of small dimuon files (ZSTD); write the files that do not exist."""
    n_files = max(1, entries // MANY_ENTRIES)
    folder = folder / f"many-{entries}-{seed}" / "zstd"
    return _files(folder, functools.partial(_write_dimuon, "zstd", seed), _equal(entries, n_files))


def wide(folder: Path, entries: int, *, n_files: int = N_FILES, seed: int = SEED) -> list[str]:
    """Return the paths of NanoAOD-like files with about 180 branches (ZSTD); write the files that do not exist."""
    return _files(folder / f"wide-{entries}-{seed}", functools.partial(_write_wide, seed), _equal(entries, n_files))


def dsphipi(folder: Path, entries: int, *, n_files: int = N_FILES, seed: int = SEED) -> list[str]:
    """Return the paths of files of Ds candidates, all branches vectors (ZSTD); write the files that do not exist."""
    folder = folder / f"dsphipi-{entries}-{seed}"
    return _files(folder, functools.partial(_write_dsphipi, seed), _equal(entries, n_files))


def hmumu(folder: Path, entries: int, variant: str = "zstd", *, seed: int = SEED) -> list[str]:
    """Return the paths of NanoAOD files of 2018, one for each of `HMUMU_SHARES`; write the files that do not exist."""
    repeats, rest = divmod(entries, HMUMU_DRAWN)
    if has_root() and repeats > 1 and not rest:
        return repeated(hmumu(folder, HMUMU_DRAWN, variant, seed=seed), repeats)
    # ROOT copies the events to the other variants, too
    drawn = hmumu(folder, entries, seed=seed) if variant != "zstd" and has_root() else []
    write = functools.partial(_write_hmumu, variant, seed, drawn)
    counts = [round(entries * share) for share in HMUMU_SHARES.values()]
    return _files(folder / f"hmumu-{entries}-{seed}" / variant, write, counts)


def repeated(paths: Sequence[str], repeats: int, treename: str = TREENAME) -> list[str]:
    """Return the paths of files with the content of these several times; without ROOT, these."""
    if repeats == 1 or not has_root():
        return list(paths)
    write = functools.partial(_repeat, treename, repeats, paths)
    return _files(Path(paths[0]).parent / f"times-{repeats}", write, [0] * len(paths))


def _equal(entries: int, n_files: int) -> list[int]:
    return [entries * (i + 1) // n_files - entries * i // n_files for i in range(n_files)]


def _files(folder: Path, write: Callable[[Path, Path, int, int], None], counts: Sequence[int]) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"events_{i}.root" for i in range(len(counts))]
    missing = [(path, n, i) for i, (path, n) in enumerate(zip(paths, counts, strict=True)) if not path.exists()]
    if missing:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            list(pool.map(_one_file, [write] * len(missing), *zip(*missing, strict=True)))
    return [str(path) for path in paths]


def _one_file(write: Callable[[Path, Path, int, int], None], path: Path, entries: int, index: int) -> None:
    plain, part = path.with_suffix(".plain.root"), path.with_suffix(".part.root")
    try:
        write(part, plain, entries, index)
        part.rename(path)  # so that an existing file is complete
    finally:
        plain.unlink(missing_ok=True)
        part.unlink(missing_ok=True)


def _write_dimuon(variant: str, seed: int, path: Path, plain: Path, entries: int, index: int) -> None:
    from af_kit.simulate import dimuon as simulate

    algorithm, level = VARIANTS[variant]
    draw = functools.partial(simulate, entries=entries, seed=seed, file_index=index, event_numbers=False)
    if not has_root():
        draw(path, compression=f"{algorithm}-{level}", kind="rntuple" if variant == "rntuple" else "ttree")
    elif variant == "rntuple":
        _snapshot(draw(plain), path, CODES[algorithm] + level, ntuple=True)
    else:
        _write_ttree(draw(plain), path, CODES[algorithm] + level)


def _write_wide(seed: int, path: Path, plain: Path, entries: int, index: int) -> None:
    from af_kit.simulate import nanoaod

    draw = functools.partial(nanoaod, entries=entries, seed=seed, file_index=index)
    if has_root():
        _snapshot(draw(plain), path, CODES["ZSTD"] + 5, cluster=WIDE_CLUSTER_ENTRIES)
    else:
        draw(path, cluster_entries=WIDE_CLUSTER_ENTRIES)


def _write_dsphipi(seed: int, path: Path, plain: Path, entries: int, index: int) -> None:
    from af_kit.simulate import dsphipi

    # ROOT's Snapshot would write vectors as RVec; the kit's own writer writes them as ROOT's TTree::Branch does
    dsphipi(path, entries, seed, file_index=index, compression="ZSTD-5", cluster_entries=WIDE_CLUSTER_ENTRIES)


def _write_hmumu(
    variant: str, seed: int, drawn: Sequence[str], path: Path, plain: Path, entries: int, index: int
) -> None:
    from af_kit.simulate.nano.sample import write_sample

    algorithm, level = VARIANTS[variant]
    draw = functools.partial(write_sample, entries=entries, seed=seed, kind=list(HMUMU_SHARES)[index], year=2018)
    if has_root():
        source = Path(drawn[index]) if drawn else draw(plain)
        _snapshot(source, path, CODES[algorithm] + level, cluster=WIDE_CLUSTER_ENTRIES)
    else:
        draw(path, compression=f"{algorithm}-{level}", cluster_entries=WIDE_CLUSTER_ENTRIES)


def _repeat(
    treename: str, repeats: int, drawn: Sequence[str], path: Path, plain: Path, entries: int, index: int
) -> None:
    """Write a file with the compressed baskets of a drawn one, several times."""
    ROOT = _root()
    chain = ROOT.TChain(treename)
    for _ in range(repeats):
        chain.Add(drawn[index])
    file = ROOT.TFile(str(path), "RECREATE")
    if folder := treename.rpartition("/")[0]:
        file.mkdir(folder).cd()
    chain.CloneTree(-1, "fast")
    file.Write()
    file.Close()


def _write_ttree(source: Path, path: Path, compression: int) -> None:
    import uproot

    columns = uproot.open({source: TREENAME}).arrays()
    counts = columns["nMuon"].to_numpy().astype(np.uint32)
    flat = [np.ascontiguousarray(columns[f"Muon_{name}"].layout.content.data, dtype=dtype) for name, dtype in _COLUMNS]
    _writer()(str(path), len(counts), counts, *flat, compression, CLUSTER_ENTRIES)


def _root() -> ModuleType:
    with warnings.catch_warnings(action="ignore"):  # the warning that the wheel is an alpha release
        import ROOT
    return ROOT


@functools.cache
def _writer() -> Callable[..., None]:
    _root().gInterpreter.Declare(WRITER)  # once per process
    return _root().af_bench_write


def _snapshot(
    source: Path,
    path: Path,
    compression: int,
    *,
    ntuple: bool = False,
    cluster: int = CLUSTER_ENTRIES,
    treename: str = TREENAME,
) -> None:
    ROOT = _root()
    options = ROOT.RDF.RSnapshotOptions()
    options.fAutoFlush = cluster
    options.fCompressionAlgorithm = compression // 100
    options.fCompressionLevel = compression % 100
    if ntuple:
        options.fOutputFormat = ROOT.RDF.ESnapshotOutputFormat.kRNTuple
    frame = ROOT.RDataFrame(TREENAME, str(source))
    frame.Snapshot(TREENAME, str(path), "", options)
