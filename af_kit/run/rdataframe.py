"""ROOT's RDataFrame on the kit's cluster: the same fileset, proxy and files, and the same C++ code on every worker."""

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
from af_kit.run.upload import carry, carrying

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
    """A ROOT RDataFrame over the files of a fileset, distributed over the workers of a Dask cluster.

    It is ROOT's own distributed RDataFrame: ``Define``, ``Filter``, ``Histo1D`` and the rest build a graph, which runs
    when the first result is asked for. What `send_proxy`, `send_token` and `send_files` gave to the workers is there
    for ROOT, too: ``af_kit.file(name)`` in ``initialize`` is a file's path.

    Parameters
    ----------
    client : distributed.Client or None
        The cluster; `connect` gives one. None for an ordinary RDataFrame in this process.
    fileset : path, URL, glob, list of these, mapping, or Fileset
        As for `load_fileset`. Of a file with replicas the first is read. Files of this machine that the workers do not
        see are carried to them, as for `process`.
    treename : str, optional
        The tree's name, whatever the fileset says.
    datasets : str or list of str, optional
        Only these datasets. An RDataFrame does not know which dataset an event is of: give one for each kind.
    declare : str or list of str
        C++ code (functions, includes) that the expressions use; declared once in every process.
    initialize : callable, optional
        Called once in this process and once in each worker process, before its first events: for what needs more than
        C++ code.
    npartitions : int, optional
        How many tasks; by default ROOT's choice, one for each core that there is now.

    Returns
    -------
    ROOT.RDataFrame or its distributed form

    Raises
    ------
    MissingExtraError
        There is no ROOT here, or on a worker.
    FilesetError
        The datasets' trees have different names.
    InputError
        The C++ code does not compile; or no worker sees the files, and they are too large to be carried.
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
            f"The fileset has trees of {len(trees)} names ({', '.join(trees)}), and an RDataFrame reads one: choose "
            "datasets=[...]."
        )
    import ROOT

    paths = [file.path for file in files]
    carry(client, [(path,) for path in paths])  # now for the refusal, and again when it runs
    code = [declare] if isinstance(declare, str) else list(declare)
    _prepare(code, initialize)
    if client is None:
        return ROOT.RDataFrame(trees[0], paths)
    return _backend(client, paths, code, initialize).make_dataframe(trees[0], paths, npartitions=npartitions)


def _check_workers(client: Any) -> None:
    """Refuse workers without ROOT before anything is booked on them."""
    found: dict[str, bool] = client.run(_has_root)
    without = [address for address, there in found.items() if not there]
    if without:
        raise MissingExtraError(
            f"{len(without)} of {len(found)} workers have no ROOT ({', '.join(without[:3])}): install it in their "
            f"environment, {_INSTALL}"
        )


def _has_root() -> bool:
    return importlib.util.find_spec("ROOT") is not None


def _backend(client: Any, paths: list[str], code: list[str], initialize: Callable[[], Any] | None) -> Any:
    """ROOT's Dask backend, with what belongs to this data frame alone, and on this client.

    ROOT keeps declarations and the initialization function for all data frames of the process together, and runs on
    whichever client was made last.
    """
    from ROOT._distrdf.Backends.Dask.Backend import DaskBackend

    class Backend(DaskBackend):
        def ProcessAndMerge(self, ranges: Any, mapper: Any, *arguments: Any) -> Any:
            with self.client.as_current(), carrying(self.client, [(path,) for path in paths]):
                return super().ProcessAndMerge(ranges, functools.partial(_from_copies, mapper), *arguments)

        def ProcessAndMergeLive(self, ranges: Any, mapper: Any, *arguments: Any) -> Any:
            with self.client.as_current(), carrying(self.client, [(path,) for path in paths]):
                return super().ProcessAndMergeLive(ranges, functools.partial(_from_copies, mapper), *arguments)

    backend = Backend(daskclient=client)
    backend.initialization = functools.partial(_prepare, code, initialize)
    backend.strings_to_declare = {}
    return backend


def _from_copies(mapper: Callable[[Any], Any], part: Any) -> Any:
    """ROOT's task on one range of the files, of which some may be here as copies."""
    places = {path: path if is_remote(path) else path_to_open(local_path(path)) for path in part.filenames}
    if all(path == place for path, place in places.items()):
        return mapper(part)
    done = mapper(dataclasses.replace(part, filenames=[places[path] for path in part.filenames]))
    if done.entries_in_trees is not None:
        # ROOT counts each tree once, by its file's name: that must be the same from all workers.
        trees = done.entries_in_trees.trees_with_entries
        for path, place in places.items():
            for name in [name for name in trees if name.startswith(f"{place}/")]:
                trees[path + name.removeprefix(place)] = trees.pop(name)
    return done


_prepared: set[str] = set()


def _prepare(code: list[str], initialize: Callable[[], Any] | None) -> None:
    """Declare the code and call the function, if this process has not done so."""
    import cloudpickle
    import ROOT

    for text in code:
        key = hashlib.sha256(text.encode()).hexdigest()
        # The guard is for threads that come at the same time.
        guarded = f"#ifndef AF_KIT_{key}\n#define AF_KIT_{key}\n{text}\n#endif"
        if key not in _prepared and not ROOT.gInterpreter.Declare(guarded):
            raise InputError(f"ROOT cannot compile this C++ code (its own message is above): {text.strip()[:200]}")
        _prepared.add(key)
    if initialize is not None:
        key = hashlib.sha256(cloudpickle.dumps(initialize)).hexdigest()
        if key not in _prepared:
            initialize()
            _prepared.add(key)
