"""`load_fileset`: make a `Fileset` from YAML, JSON, paths, URLs, globs or a coffea fileset."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from af_kit.data.fileset.datasets import DEFAULT_TREENAME, Dataset, File, Fileset, check_names
from af_kit.data.fileset.documents import load_document
from af_kit.data.fileset.fileset_schema import DatasetSpec, FileSpec, parse_fileset, split_treename
from af_kit.data.fileset.locations import Site, is_glob, is_url, locate, redacted
from af_kit.errors import FilesetError, nearest

__all__ = ["File", "Dataset", "Fileset", "load_fileset", "shipped_filesets"]

_DOCUMENTS = (".yaml", ".yml", ".json", ".yaml.gz", ".yml.gz", ".json.gz")
_SHIPPED = Path(__file__).parents[2] / "filesets"
_UNNAMED = "files"


def load_fileset(
    source: object,
    *,
    treename: str | None = None,
    datasets: str | Iterable[str] | None = None,
    default_treename: str = DEFAULT_TREENAME,
) -> Fileset:
    """Make a fileset.

    Parameters
    ----------
    source : path, URL, glob, list of these, mapping, or Fileset
        - A YAML or JSON file (``.yaml``, ``.yml``, ``.json``, or packed, such as ``.json.gz``). A name that does not
          exist in the working directory is looked up among the filesets that ship with the kit, such as
          ``"dimuon.yaml"``. Relative paths in the file start from its folder.
        - A mapping of the same form, or a coffea fileset; `fileset_schema` lists all forms.
        - A ROOT file, or a list of ROOT, YAML and JSON files. Each is a local path, a URL (``root://``, ``https://``,
          ...), a logical name (``/store/...``, resolved by the site's redirectors) or a glob, optionally with a
          treename: ``"ntuple.root:Tree3Mu/ntuple"``. A single file makes a dataset with its own name; several, or a
          glob, make the dataset ``"files"``.
        - A Fileset.

        ``~`` and environment variables in paths are expanded.
    treename : str, optional
        Read this tree, whatever the source says. Default: the source's, else ``default_treename``.
    datasets : str or list of str, optional
        Select these datasets. Globs of the others are not evaluated.
    default_treename : str
        The tree to read if neither ``treename`` nor the source names one.

    Returns
    -------
    Fileset
        Files that are named are not checked: planning does that, and reports a bad file without stopping at it. Globs
        are evaluated here, on this machine; `plan` and `process` upload files that only this machine has.

    Raises
    ------
    FilesetError
        An unknown key or wrong type (with its line and the nearest valid key), a duplicate key or file, an unknown
        dataset (with the nearest), a glob that matches nothing, or a source that is none of the above.

    Examples
    --------
    >>> print(load_fileset("dimuon.yaml"))
    Fileset: 1 dataset, 20 files
      dataset                   files  treename  metadata
      Run2012BC_DoubleMuParked     20  Events    experiment: CMS, year: 2012, isMC: False, sqrt_s_TeV: 8, ...
    """
    if isinstance(source, Fileset):
        fileset = source.select(datasets)
        if treename is None:
            return fileset
        return Fileset(
            replace(dataset, files=tuple(replace(file, treename=treename, entries=None) for file in dataset.files))
            for dataset in fileset.values()
        )
    found = _parse(source, treename)
    if datasets is not None:
        names = check_names(datasets, [spec.name for spec, _ in found])
        found = [(spec, folder) for spec, folder in found if spec.name in names]
    site = Site.configured()
    return Fileset([_dataset(spec, folder, site, treename, default_treename) for spec, folder in found])


def shipped_filesets() -> list[str]:
    """Return the names of the filesets that ship with the kit, for use with `load_fileset`."""
    return sorted(path.name for path in _SHIPPED.glob("*.yaml"))


def _parse(source: object, treename: str | None) -> list[tuple[DatasetSpec, Path]]:
    """Parse the source; return each dataset with the folder that its relative paths start from."""
    here = Path.cwd()
    if hasattr(source, "model_dump"):  # coffea's own fileset objects
        source = source.model_dump()
    if isinstance(source, Mapping):
        return [(spec, here) for spec in parse_fileset(source, "The fileset")]
    if isinstance(source, str | os.PathLike):
        source = [source]
    if not isinstance(source, list | tuple | set | frozenset):
        raise FilesetError(
            "A fileset must be a path, a URL, a glob, a list of these, a mapping or a Fileset, not "
            f"{source!r} ({type(source).__name__})."
        )
    found: list[tuple[DatasetSpec, Path]] = []
    files: list[FileSpec] = []
    for item in sorted(source) if isinstance(source, set | frozenset) else source:
        if not isinstance(item, str | os.PathLike) or not str(item):
            raise FilesetError(f"The list of files contains {item!r}, which is neither a path nor a URL.")
        path = str(os.fspath(item))
        if path.lower().endswith(_DOCUMENTS):
            document = _document(path)
            found += [(spec, document.parent) for spec in parse_fileset(load_document(document), str(document))]
        else:
            files.append(_parse_path(path, treename))
    if files:
        found.append((DatasetSpec(_dataset_name(files), tuple(files)), here))
    if not found:
        raise FilesetError("The list of files is empty.")
    return found


def _parse_path(path: str, treename: str | None) -> FileSpec:
    file = split_treename(path)
    if treename and file.treename and treename != file.treename:
        raise FilesetError(f"{path!r} names the tree {file.treename!r}, but treename={treename!r}.")
    if f"{path}.yaml" in shipped_filesets() and not Path(path).exists():
        raise FilesetError(f"There is no ROOT file {path!r}. Did you mean '{path}.yaml'?")
    return file


def _dataset_name(files: list[FileSpec]) -> str:
    path = files[0].paths[0]
    if len(files) > 1 or is_glob(path):
        return _UNNAMED
    return PurePosixPath(urlsplit(path).path if is_url(path) else path).stem or _UNNAMED


def _document(path: str) -> Path:
    """Find the fileset file of this name: the user's own, else the kit's."""
    own = Path(os.path.expandvars(path)).expanduser()
    if own.exists():
        return own
    if path in shipped_filesets():
        return _SHIPPED / path
    others = [other.name for other in own.parent.glob("*") if other.name.endswith(_DOCUMENTS)]
    raise FilesetError(
        f"There is no fileset file {path!r}, neither in {str(own.parent.absolute())!r} nor among the kit's filesets."
        f"{nearest(own.name, [*others, *shipped_filesets()])}"
    )


def _dataset(spec: DatasetSpec, folder: Path, site: Site, treename: str | None, default: str) -> Dataset:
    files: list[File] = []
    for file in spec.files:
        tree = treename or file.treename or spec.treename or default
        try:
            if len(file.paths) == 1:
                found = locate(file.paths[0], folder=folder, site=site)
                # what the fileset says holds for one file and its own tree
                same = len(found) == 1 and treename in (None, file.treename)
                said = (file.uuid, file.entries) if same else ()
                files += [File(replicas, tree, *said) for replicas in found]
            else:
                files.append(File(_replicas(file, folder, site), tree))
        except FilesetError as error:
            raise FilesetError(f"{spec.where}: {error}" if spec.where else str(error)) from error.__cause__
    return Dataset(spec.name, tuple(files), spec.metadata)


def _replicas(file: FileSpec, folder: Path, site: Site) -> tuple[str, ...]:
    replicas: list[str] = []
    for path in file.paths:
        if is_glob(path):
            raise FilesetError(f"{redacted(path)!r} is a glob and cannot be one of several replicas of a file.")
        replicas += locate(path, folder=folder, site=site)[0]
    return tuple(dict.fromkeys(replicas))
