"""ROOT's RDataFrame on a Dask cluster, with the same fileset, proxy and files, and C++ code for every worker."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.util
from collections.abc import Callable, Iterable
from typing import Any

from af_kit.data.fileset.load import load_fileset
from af_kit.data.transport.io_errors import is_remote, local_path
from af_kit.data.transport.uploaded_copies import path_to_open
from af_kit.errors import FilesetError, InputError, MissingExtraError
from af_kit.run.upload import uploaded_files

__all__ = ["rdataframe"]

_INSTALL = 'pip install --pre "ROOT==0.1a12"'


def rdataframe(
    client: Any,
    fileset: Any,
    *,
    treename: str | None = None,
    datasets: str | Iterable[str] | None = None,
    declare: str | Iterable[str] = (),
    initialize: Callable[[], Any] | None = None,
    npartitions: int | None = None,
) -> Any:
    """Return a ROOT RDataFrame over the files of a fileset, distributed over the workers of a Dask cluster.

    It is ROOT's distributed RDataFrame: ``Define``, ``Filter``, ``Histo1D`` and the rest build a graph, which runs when
    the first result is requested. ROOT also uses the credentials and files that `send_proxy`, `send_token` and
    `send_files` sent to the workers: ``af_kit.file(name)`` in ``initialize`` returns the path of a file.

    Parameters
    ----------
    client : distributed.Client or None
        The cluster, from `connect`. None for an ordinary RDataFrame in this process.
    fileset : path, URL, glob, list of these, mapping, or Fileset
        Anything that `load_fileset` takes. The first replica of a file is read. Files on this machine that the workers
        cannot see are uploaded to them, as `process` does.
    treename : str, optional
        Name of the tree, instead of that in the fileset.
    datasets : str or list of str, optional
        Only these datasets. An RDataFrame does not know the dataset of an event, so make one for each kind of dataset.
    declare : str or list of str
        C++ code (functions, includes) that the expressions use; declared once in every process.
    initialize : callable, optional
        Called once in this process and once in each worker process, before its first events, if C++ code is not enough.
    npartitions : int, optional
        Number of tasks; by default ROOT's choice, one for each core of the present workers.

    Returns
    -------
    ROOT.RDataFrame or its distributed form

    Raises
    ------
    MissingExtraError
        ROOT is not installed here, or on a worker.
    FilesetError
        The datasets' trees have different names.
    InputError
        The C++ code does not compile; or no worker can see the files, and these exceed ``af_kit.data.upload_limit``.
    """
    if importlib.util.find_spec("ROOT") is None:
        raise MissingExtraError(f"rdataframe() needs ROOT, which is not installed: {_INSTALL}")
    if client is not None:
        _check_workers(client)
    chosen = load_fileset(fileset, treename=treename, datasets=datasets)
    files = [file for dataset in chosen.values() for file in dataset.files]
    trees = sorted({file.treename for file in files})
    if len(trees) > 1:
        raise FilesetError(
            f"The fileset has trees with {len(trees)} names ({', '.join(trees)}), but an RDataFrame reads only one: "
            "choose datasets=[...]."
        )
    import ROOT

    paths = [file.path for file in files]
    with uploaded_files(client, [(path,) for path in paths]):
        pass  # to raise errors now; they are uploaded again when it runs
    code = [declare] if isinstance(declare, str) else list(declare)
    _prepare(code, initialize)
    if client is None:
        return ROOT.RDataFrame(trees[0], paths)
    return _backend(client, paths, code, initialize).make_dataframe(trees[0], paths, npartitions=npartitions)


def _check_workers(client: Any) -> None:
    """Refuse workers without ROOT before anything runs on them."""
    found: dict[str, bool] = client.run(_has_root)
    without = [address for address, there in found.items() if not there]
    if without:
        raise MissingExtraError(
            f"{len(without)} of {len(found)} workers do not have ROOT ({', '.join(without[:3])}): install it in their "
            f"environment, {_INSTALL}"
        )


def _has_root() -> bool:
    return importlib.util.find_spec("ROOT") is not None


def _backend(client: Any, paths: list[str], code: list[str], initialize: Callable[[], Any] | None) -> Any:
    """Return ROOT's Dask backend with the C++ code and the initialization of this data frame only, on this client.

    ROOT shares declarations and the initialization function between all data frames of the process, and runs on the
    newest client.
    """
    from ROOT._distrdf.Backends.Dask.Backend import DaskBackend

    class Backend(DaskBackend):
        def ProcessAndMerge(self, ranges: Any, mapper: Any, *arguments: Any) -> Any:
            with self.client.as_current(), uploaded_files(self.client, [(path,) for path in paths]):
                return super().ProcessAndMerge(ranges, functools.partial(_from_copies, mapper), *arguments)

        def ProcessAndMergeLive(self, ranges: Any, mapper: Any, *arguments: Any) -> Any:
            with self.client.as_current(), uploaded_files(self.client, [(path,) for path in paths]):
                return super().ProcessAndMergeLive(ranges, functools.partial(_from_copies, mapper), *arguments)

    backend = Backend(daskclient=client)
    backend.initialization = functools.partial(_prepare, code, initialize)
    backend.strings_to_declare = {}
    return backend


def _from_copies(mapper: Callable[[Any], Any], part: Any) -> Any:
    """Run ROOT's task on one range of the files, some of which may be uploaded copies."""
    opened = {path: path if is_remote(path) else path_to_open(local_path(path)) for path in part.filenames}
    if all(path == copy for path, copy in opened.items()):
        return mapper(part)
    done = mapper(dataclasses.replace(part, filenames=[opened[path] for path in part.filenames]))
    if done.entries_in_trees is not None:
        # ROOT counts each tree once, by the name of its file, which must be the same from all workers.
        trees = done.entries_in_trees.trees_with_entries
        for path, copy in opened.items():
            for name in [name for name in trees if name.startswith(f"{copy}/")]:
                trees[path + name.removeprefix(copy)] = trees.pop(name)
    return done


_prepared: set[str] = set()


def _prepare(code: list[str], initialize: Callable[[], Any] | None) -> None:
    """Declare the code and call the function, once in this process."""
    import cloudpickle
    import ROOT

    for text in code:
        key = hashlib.sha256(text.encode()).hexdigest()
        # The guard is for threads that do this at the same time.
        guarded = f"#ifndef AF_KIT_{key}\n#define AF_KIT_{key}\n{text}\n#endif"
        if key not in _prepared and not ROOT.gInterpreter.Declare(guarded):
            raise InputError(f"ROOT cannot compile this C++ code (its message is above): {text.strip()[:200]}")
        _prepared.add(key)
    if initialize is not None:
        key = hashlib.sha256(cloudpickle.dumps(initialize)).hexdigest()
        if key not in _prepared:
            initialize()
            _prepared.add(key)
