"""A preload module for workers in Kubernetes: the X.509 proxy that is mounted into their pod as a Secret.

A mounted file cannot have the mode 0600 that grid tools ask for: it belongs to root, and the group must read it. So
each worker keeps a copy in its own folder, as `send_proxy` would have put it there, and renews it when the mounted one
changes.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from tornado.ioloop import PeriodicCallback

from af_kit.credentials import variables
from af_kit.credentials.secret import file_of, read_secret, remove_secret, write_secret
from af_kit.plugins.proxy import PROXY_FILE, X509ProxyPlugin

__all__ = ["LOOK_S", "VARIABLE", "dask_setup", "dask_teardown"]

# Below Dask's own, so that client.get_worker_logs() has it.
logger = logging.getLogger("distributed.worker.af_kit")

VARIABLE = "AF_KIT_MOUNTED_PROXY"
"""Names the mounted file."""

LOOK_S = 5.0
_callbacks: dict[str, PeriodicCallback] = {}


def dask_setup(worker: Any) -> None:
    """Called by Dask as the worker starts."""
    mounted = os.environ.get(VARIABLE)
    if not mounted:
        return
    mirror = _Mirror(Path(mounted), file_of(worker.local_directory, PROXY_FILE))
    mirror.look()
    callback = _callbacks[worker.local_directory] = PeriodicCallback(mirror.look, LOOK_S * 1000)
    callback.start()


def dask_teardown(worker: Any) -> None:
    """Called by Dask as the worker ends."""
    callback = _callbacks.pop(worker.local_directory, None)
    if callback is None:
        return
    callback.stop()
    path = file_of(worker.local_directory, PROXY_FILE)
    variables.put_back(str(path))
    remove_secret(path)
    X509ProxyPlugin().clean(path)


class _Mirror:
    """Keeps a private copy of a mounted secret."""

    def __init__(self, mounted: Path, copy: Path) -> None:
        self._mounted, self._copy = mounted, copy
        self._plugin = X509ProxyPlugin()
        self._seen = ""

    def look(self) -> None:
        """Copy the secret if it is new; one that cannot be read now is tried again."""
        try:
            secret, _ = read_secret(self._mounted)
            if secret.digest() == self._seen:
                return
            write_secret(self._copy, secret)
            settings, _ = self._plugin.settings(self._copy, {"cert_dir": None, "hints": []})
            variables.set_for(str(self._copy), settings)
            self._seen = secret.digest()
        except FileNotFoundError:
            return  # not yet mounted
        except Exception:
            logger.exception("The mounted proxy %s could not be put in place", self._mounted)
