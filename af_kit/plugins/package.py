"""`send_package`: deliver the user's own package to every worker, with its content as the version."""

from __future__ import annotations

import importlib
import io
import logging
import shutil
import sys
import sysconfig
import tempfile
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin

from af_kit.errors import InputError
from af_kit.plugins import store
from af_kit.plugins.spark import executor_folder, is_spark, sent_to

__all__ = ["PackagePlugin", "send_package"]

logger = logging.getLogger(__name__)

_PREFIX = "af-package-"
_SKIPPED = {"__pycache__", ".git", ".ipynb_checkpoints", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
# A package contains code and small tables; send_files and send_model are for large files.
_MAX_BYTES = 50_000_000


class PackagePlugin(WorkerPlugin):
    """Puts a package first on a worker's import path, and unloads the modules of an older version.

    Parameters
    ----------
    name : str
        The package's import name.
    digest : str
        SHA-256 of the archive in the scheduler's store.
    """

    def __init__(self, name: str, digest: str) -> None:
        self.name = _PREFIX + name
        self.package, self.digest = name, digest

    def _folder(self, worker: Any) -> Path:
        return Path(worker.local_directory) / "af-packages" / self.digest[:16]

    async def setup(self, worker: Any) -> None:
        """Fetch and unpack the package before the worker's first task."""
        folder = self._folder(worker)
        archive = folder.with_suffix(".zip")
        await store.fetch(worker, self.digest, archive)
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
        sys.path.insert(0, str(folder))
        _unload(self.package)

    def teardown(self, worker: Any) -> None:
        """Remove the package from the import path."""
        folder = self._folder(worker)
        sys.path[:] = [entry for entry in sys.path if entry != str(folder)]
        store.give_back(worker, self.digest, folder.with_suffix(".zip"))
        _unload(self.package)


def send_package(client: Any, path: str | Path) -> str:
    """Put your analysis package (a folder with ``__init__.py``, or one ``.py`` file) on every worker.

    `process` already sends the modules of the function that you give it. Use this for packages that the workers import
    by name, or that include data files.

    Parameters
    ----------
    client : distributed.Client or pyspark.sql.SparkSession
        The cluster.
    path : str or Path
        The package's folder, or the module's file.

    Returns
    -------
    str
        The version, a digest of the content. Sending unchanged code again does nothing; changed code replaces the old
        on all workers, which use it from their next import on.

    Raises
    ------
    InputError
        There is no package at this path, its name cannot be imported or is that of an installed one, or it is larger
        than 50 MB.
    """
    source = Path(path).expanduser().resolve()
    name = source.stem if source.suffix == ".py" else source.name
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "package.zip"
        archive.write_bytes(_archive(source, _files(source, name)))
        digest = store.sha256_of(archive)
        sent = sent_to(client) if is_spark(client) else None
        digests = sent.digests(_PREFIX) if sent else store.registered_digests(client, _PREFIX)
        registered = digests.get(name)
        if registered != digest:
            logger.info("send: the package %s, %s bytes, from %s", name, archive.stat().st_size, source)
        if registered != digest and sent:
            sent.add(_PREFIX + name, archive, digest, arrive=partial(_arrive, name), leave=partial(_leave, name))
        elif registered != digest:
            store.put(client, archive, digest)
            if registered is not None:
                client.unregister_worker_plugin(_PREFIX + name)
            client.register_plugin(PackagePlugin(name, digest), name=_PREFIX + name)
    return digest[:16]


def _arrive(name: str, path: Path, digest: str) -> None:
    """Put a package on the import path of a process of a Spark executor."""
    folder = _folder_on_spark(digest)
    if not folder.exists():
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=folder.parent))
        with zipfile.ZipFile(path) as packed:
            packed.extractall(new)
        try:
            new.rename(folder)
        except OSError:  # another process of this executor was first
            shutil.rmtree(new)
    sys.path.insert(0, str(folder))
    _unload(name)


def _leave(name: str, path: Path, digest: str) -> None:
    folder = str(_folder_on_spark(digest))
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    _unload(name)


def _folder_on_spark(digest: str) -> Path:
    return executor_folder() / "af-packages" / digest[:16]


def _files(source: Path, name: str) -> list[Path]:
    if not name.isidentifier():
        raise InputError(
            f"{name!r} ({source}) cannot be imported: a package's name consists of letters, digits and underscores."
        )
    _refuse_shadowing(source, name)
    if source.is_file():
        return [source]
    if not (source / "__init__.py").is_file():
        inner = sorted(path.parent for path in source.glob("*/__init__.py"))
        hint = f" Did you mean {str(inner[0])!r}?" if inner else " Name the folder that contains __init__.py."
        raise InputError(f"There is no Python package at {source}.{hint}")
    files = sorted(
        file
        for file in source.rglob("*")
        if file.is_file() and not _SKIPPED & set(file.relative_to(source).parts) and file.suffix != ".pyc"
    )
    size = sum(file.stat().st_size for file in files)
    if size > _MAX_BYTES:
        largest = max(files, key=lambda file: file.stat().st_size)
        raise InputError(
            f"The package {source} has {size / 1e6:.0f} MB (the largest file is {largest}); the limit is "
            f"{_MAX_BYTES / 1e6:.0f} MB. Send data with af_kit.send_files."
        )
    return files


def _refuse_shadowing(source: Path, name: str) -> None:
    """Raise an InputError if the workers would import this package instead of an installed one."""
    folders = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    installed = [
        path
        for folder in folders
        for path in (folder / name, folder / f"{name}.py", *folder.glob(f"{name}.*.so"))
        if path.exists() and path.resolve() != source
    ]
    if name in sys.stdlib_module_names or installed:
        kind = "a module of Python" if name in sys.stdlib_module_names else f"installed as {installed[0]}"
        raise InputError(
            f"{source} cannot be sent: {name!r} is also {kind}, which it would replace on every worker. Rename it."
        )


def _archive(source: Path, files: list[Path]) -> bytes:
    """Return a zip archive that is identical for identical content: no modification times, sorted files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in files:
            info = zipfile.ZipInfo(str(file.relative_to(source.parent)))
            info.external_attr = 0o644 << 16
            packed.writestr(info, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _unload(package: str) -> None:
    """Drop imported modules, so that the next import finds the current version."""
    for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
        del sys.modules[name]
    importlib.invalidate_caches()
