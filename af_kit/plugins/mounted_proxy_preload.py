"""Worker preload module for Kubernetes: use the X.509 proxy that is mounted into the pod as a Secret.

A mounted file belongs to root and must be readable by the group, but grid tools require mode 0600. Each worker
therefore keeps a private copy in its folder, like `send_proxy` does, and updates it when the mounted file changes.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from tornado.ioloop import PeriodicCallback

from af_kit.credentials import environment_variables
from af_kit.credentials.secret import read_secret, remove_secret, secret_path, write_secret
from af_kit.plugins.proxy import PROXY_FILE, X509ProxyPlugin

__all__ = ["VARIABLE", "dask_setup", "dask_teardown"]

# Below Dask's logger, so that client.get_worker_logs() includes it.
logger = logging.getLogger("distributed.worker.af_kit")

VARIABLE = "AF_KIT_MOUNTED_PROXY"
"""Environment variable with the path of the mounted file."""

_INTERVAL_S = 5.0
_callbacks: dict[str, PeriodicCallback] = {}


def dask_setup(worker: Any) -> None:
    """Copy the proxy when Dask starts the worker, and keep the copy up to date."""
    mounted = os.environ.get(VARIABLE)
    if not mounted:
        return
    copy = _ProxyCopy(Path(mounted), secret_path(worker.local_directory, PROXY_FILE))
    copy.update()
    callback = _callbacks[worker.local_directory] = PeriodicCallback(copy.update, _INTERVAL_S * 1000)
    callback.start()


def dask_teardown(worker: Any) -> None:
    """Remove the copy when the worker ends."""
    callback = _callbacks.pop(worker.local_directory, None)
    if callback is None:
        return
    callback.stop()
    path = secret_path(worker.local_directory, PROXY_FILE)
    environment_variables.restore(str(path))
    remove_secret(path)
    X509ProxyPlugin().clean_up(path)


class _ProxyCopy:
    """A private copy of a mounted proxy."""

    def __init__(self, mounted: Path, path: Path) -> None:
        self._mounted, self._path = mounted, path
        self._plugin = X509ProxyPlugin()
        self._digest = ""

    def update(self) -> None:
        """Copy the mounted file if its content is new; after an error, the next call tries again."""
        try:
            secret, _ = read_secret(self._mounted)
            if secret.digest() == self._digest:
                return
            write_secret(self._path, secret)
            settings, _ = self._plugin.settings(self._path, {"cert_dir": None, "hints": []})
            environment_variables.set_for(str(self._path), settings)
            self._digest = secret.digest()
        except FileNotFoundError:
            return  # not yet mounted
        except Exception:
            logger.exception("The mounted proxy %s could not be copied", self._mounted)
