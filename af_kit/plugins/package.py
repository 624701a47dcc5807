"""The user's own package on every worker, versioned by its content: no worker runs yesterday's code."""

from __future__ import annotations

import importlib
import io
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin

from af_kit.errors import InputError
from af_kit.plugins import store

__all__ = ["PackagePlugin", "send_package"]

_PREFIX = "af-package-"
_SKIPPED = {"__pycache__", ".git", ".ipynb_checkpoints", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
# A package is code and small tables; samples and models have their own ways.
_MOST_BYTES = 50_000_000


class PackagePlugin(WorkerPlugin):
    """Puts a package first on a worker's import path, and forgets modules of an older version.

    Parameters
    ----------
    name : str
        The package's import name.
    digest : str
        SHA-256 of the archive that the scheduler's store holds.
    """

    def __init__(self, name: str, digest: str) -> None:
        self.name = _PREFIX + name
        self.package, self.digest = name, digest

    def _folder(self, worker: Any) -> Path:
        return Path(worker.local_directory) / "af-packages" / self.digest[:16]

    async def setup(self, worker: Any) -> None:
        """Fetch and unpack it; tasks start after this."""
        folder = self._folder(worker)
        archive = folder.with_suffix(".zip")
        await store.fetch(worker, self.digest, archive)
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
        sys.path.insert(0, str(folder))
        _forget(self.package)

    def teardown(self, worker: Any) -> None:
        """Take it off the import path again."""
        folder = str(self._folder(worker))
        sys.path[:] = [place for place in sys.path if place != folder]
        store.give_back(worker, self.digest, self._folder(worker).with_suffix(".zip"))
        _forget(self.package)


def send_package(client: Any, path: str | Path) -> str:
    """Put the user's analysis package (a folder with ``__init__.py``, or one ``.py`` file) on every worker.

    Functions of the user's modules that are given to `process` travel by themselves, as they are at that moment. This
    is for packages that are imported by name on the workers, or that bring data files along.

    Parameters
    ----------
    client : distributed.Client
        The cluster.
    path : str or Path
        The package's folder, or the module's file.

    Returns
    -------
    str
        The version: a digest of the content. Sending unchanged code again changes nothing; changed code replaces it
        on all workers, and their next import runs it.

    Raises
    ------
    InputError
        There is no package at this path, its name cannot be imported, or it is larger than 50 MB.
    """
    where = Path(path).expanduser().resolve()
    name = where.stem if where.suffix == ".py" else where.name
    files = _files(where, name)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "package.zip"
        archive.write_bytes(_archive(where, files))
        digest = store.sha256_of(archive)
        key = _PREFIX + name
        if client.run_on_scheduler(_digest_on, key=key) == digest:
            return digest[:16]
        store.put(client, archive, digest)
        if client.run_on_scheduler(_digest_on, key=key) is not None:
            client.unregister_worker_plugin(key)
        client.register_plugin(PackagePlugin(name, digest), name=key)
    return digest[:16]


def _files(where: Path, name: str) -> list[Path]:
    if not name.isidentifier():
        raise InputError(f"{name!r} ({where}) cannot be imported: a package's name has letters, digits, underscores.")
    if where.is_file():
        return [where]
    if not (where / "__init__.py").is_file():
        inner = (
            [folder.name for folder in where.glob("*/") if (folder / "__init__.py").is_file()] if where.is_dir() else []
        )
        hint = f" Did you mean {str(where / inner[0])!r}?" if inner else " Name the folder that holds __init__.py."
        raise InputError(f"There is no Python package at {where}.{hint}")
    files = sorted(
        file
        for file in where.rglob("*")
        if file.is_file() and not _SKIPPED & set(file.relative_to(where).parts) and file.suffix != ".pyc"
    )
    size = sum(file.stat().st_size for file in files)
    if size > _MOST_BYTES:
        largest = max(files, key=lambda file: file.stat().st_size)
        raise InputError(
            f"The package {where} has {size / 1e6:.0f} MB (the largest file is {largest}): more than "
            f"{_MOST_BYTES / 1e6:.0f} MB is not code. Send data with af_kit.send_files."
        )
    return files


def _archive(where: Path, files: list[Path]) -> bytes:
    """A zip archive that is the same for the same content: no times of change, a fixed order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in files:
            info = zipfile.ZipInfo(str(file.relative_to(where.parent)))
            info.external_attr = 0o644 << 16
            packed.writestr(info, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _forget(package: str) -> None:
    """Drop what was imported, so that the next import finds what is there now."""
    for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def _digest_on(dask_scheduler: Any, key: str) -> str | None:
    from distributed.protocol.pickle import loads

    blob = dask_scheduler.worker_plugins.get(key)
    return None if blob is None else str(loads(blob).digest)
