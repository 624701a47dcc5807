"""`load_fileset`: from what the user names (YAML, paths, globs, coffea's fileset) to a `Fileset`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from af_kit.data.fileset.datasets import DEFAULT_TREENAME, Dataset, File, Fileset, selected
from af_kit.data.fileset.documents import load_document
from af_kit.data.fileset.fileset_schema import Entry, Spec, specs, split_treename
from af_kit.data.fileset.locations import Site, is_glob, is_url, locate, shown
from af_kit.errors import FilesetError, nearest

__all__ = ["File", "Dataset", "Fileset", "load_fileset", "shipped_filesets"]

_DOCUMENTS = (".yaml", ".yml", ".json")
_SHIPPED = Path(__file__).parents[2] / "filesets"
_UNNAMED = "files"


def load_fileset(
    source: object,
    *,
    treename: str | None = None,
    datasets: str | Iterable[str] | None = None,
    default_treename: str = DEFAULT_TREENAME,
) -> Fileset:
    """Find out which files to read.

    Parameters
    ----------
    source : path, URL, glob, list of these, mapping, or Fileset
        - A YAML or JSON file (``.yaml``, ``.yml``, ``.json``). If there is none of this name in the working
          directory, the filesets that ship with the kit are looked through: ``"dimuon.yaml"`` is one. Relative paths
          in it start from its folder.
        - A mapping of the same shape. Coffea's filesets are taken as they are; `fileset_schema` lists all shapes.
        - A ROOT file, or a list of ROOT files (and of YAML or JSON files), each a local path, a URL (``root://``,
          ``https://``, ...), a logical name (``/store/...``, found through the site's redirectors) or a glob. A tree
          may follow: ``"ntuple.root:Tree3Mu/ntuple"``. One file makes a dataset that is called like it, several or a
          glob make the dataset ``"files"``.
        - A Fileset.

        ``~`` and environment variables in paths are filled in.
    treename : str, optional
        Read this tree, whatever the source says. Default: what the source says, else ``default_treename``.
    datasets : str or list of str, optional
        Keep only these. The globs of the others are not looked up.
    default_treename : str
        The tree where neither ``treename`` nor the source names one.

    Returns
    -------
    Fileset
        Single files are not opened, nor looked for: planning does that, and one bad file among good ones is then
        reported and does not hold up the others. Globs are looked up here, on this machine; files that only this one
        has reach the workers all the same (`plan`, `process`).

    Raises
    ------
    FilesetError
        A wrong key or type (with the line and the nearest valid key), a key or a file that occurs twice, a dataset that
        is not there (with the nearest), a glob that matches nothing, or a source that is none of the above.

    Examples
    --------
    >>> load_fileset("dimuon.yaml")
    Fileset: 1 dataset, 20 files
      dataset                   files  treename  metadata
      Run2012BC_DoubleMuParked     20  Events    experiment: CMS, year: 2012, isMC: False, sqrt_s_TeV: 8, ...
    """
    if isinstance(source, Fileset):
        fileset = source.select(datasets)
        if treename is None:
            return fileset
        return Fileset(
            replace(dataset, files=tuple(replace(file, treename=treename) for file in dataset.files))
            for dataset in fileset.values()
        )
    found = _specs(source, treename)
    if datasets is not None:
        names = selected(datasets, [spec.name for spec, _ in found])
        found = [(spec, folder) for spec, folder in found if spec.name in names]
    site = Site.configured()
    return Fileset([_dataset(spec, folder, site, treename, default_treename) for spec, folder in found])


def shipped_filesets() -> list[str]:
    """Names of the filesets that ship with the kit, each good for `load_fileset`."""
    return sorted(path.name for path in _SHIPPED.glob("*.yaml"))


def _specs(source: object, treename: str | None) -> list[tuple[Spec, Path]]:
    """What the source says, each dataset with the folder from which its relative paths start."""
    here = Path.cwd()
    if hasattr(source, "model_dump"):  # coffea's own fileset objects
        source = source.model_dump()
    if isinstance(source, Mapping):
        return [(spec, here) for spec in specs(source, "The fileset")]
    if isinstance(source, str | os.PathLike):
        source = [source]
    if not isinstance(source, list | tuple | set | frozenset):
        raise FilesetError(
            f"A fileset is a path, a URL, a glob, a list of these, a mapping or a Fileset, not {source!r} "
            f"({type(source).__name__})."
        )
    found: list[tuple[Spec, Path]] = []
    entries: list[Entry] = []
    for item in sorted(source) if isinstance(source, set | frozenset) else source:
        if not isinstance(item, str | os.PathLike) or not str(item):
            raise FilesetError(f"A list of files holds {item!r}, which is neither a path nor a URL.")
        path = str(os.fspath(item))
        if path.lower().endswith(_DOCUMENTS):
            document = _document(path)
            found += [(spec, document.parent) for spec in specs(load_document(document), str(document))]
        else:
            entries.append(_entry(path, treename))
    if entries:
        found.append((Spec(_name_of(entries), tuple(entries)), here))
    if not found:
        raise FilesetError("The list of files is empty.")
    return found


def _entry(path: str, treename: str | None) -> Entry:
    entry = split_treename(path)
    if treename and entry.treename and treename != entry.treename:
        raise FilesetError(f"{path!r} names the tree {entry.treename!r}, and treename={treename!r} another one.")
    if f"{path}.yaml" in shipped_filesets() and not Path(path).exists():
        raise FilesetError(f"There is no ROOT file {path!r}. Did you mean '{path}.yaml'?")
    return entry


def _name_of(entries: list[Entry]) -> str:
    path = entries[0].paths[0]
    if len(entries) > 1 or is_glob(path):
        return _UNNAMED
    return PurePosixPath(urlsplit(path).path if is_url(path) else path).stem or _UNNAMED


def _document(path: str) -> Path:
    """The fileset file of this name: the user's own, else the kit's."""
    own = Path(os.path.expandvars(path)).expanduser()
    if own.exists():
        return own
    if path in shipped_filesets():
        return _SHIPPED / path
    beside = [entry.name for entry in own.parent.glob("*") if entry.suffix in _DOCUMENTS]
    raise FilesetError(
        f"There is no fileset file {path!r}, neither in {str(own.parent.absolute())!r} nor in the kit."
        f"{nearest(own.name, [*beside, *shipped_filesets()])}"
    )


def _dataset(spec: Spec, folder: Path, site: Site, treename: str | None, default: str) -> Dataset:
    files: list[File] = []
    for entry in spec.entries:
        tree = treename or entry.treename or spec.treename or default
        try:
            if len(entry.paths) == 1:
                files += [File(replicas, tree) for replicas in locate(entry.paths[0], folder=folder, site=site)]
            else:
                files.append(File(_copies(entry, folder, site), tree))
        except FilesetError as error:
            raise FilesetError(f"{spec.where}: {error}" if spec.where else str(error)) from error.__cause__
    return Dataset(spec.name, tuple(files), spec.metadata)


def _copies(entry: Entry, folder: Path, site: Site) -> tuple[str, ...]:
    copies: list[str] = []
    for path in entry.paths:
        if is_glob(path):
            raise FilesetError(f"{shown(path)!r} is a glob and cannot be one of several copies of a file.")
        copies += locate(path, folder=folder, site=site)[0]
    return tuple(dict.fromkeys(copies))
