"""The worker's half: fetch a credential from the scheduler, keep it in one file, name it in the environment.

The plugin itself holds no secret. Dask pickles plugins, and a worker that cannot load one (another version of the kit)
writes the pickle to its log. So the content waits on the scheduler as a `distributed.Variable`, serialized and never
unpacked there, and each worker fetches it when it starts.

A renewal does not register the plugin again, which would end the old one first: the file would be gone for a moment.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from distributed.core import Status
from distributed.diagnostics.plugin import WorkerPlugin

from af_kit.credentials import variables
from af_kit.credentials.secret import file_of, remove_secret, write_secret

__all__ = ["CarrierPlugin", "renew_on_worker"]

# Below Dask's own, so that client.get_worker_logs() has it.
logger = logging.getLogger("distributed.worker.af_kit")

# The variable is set before the plugin is registered: waiting means that nothing was sent.
_FETCH_S = 10
# One fetch at a time on a worker, so that an older answer cannot overwrite a newer one.
_locks: weakref.WeakKeyDictionary[Any, asyncio.Lock] = weakref.WeakKeyDictionary()


class CarrierPlugin(WorkerPlugin):
    """Brings the credential that was sent to a worker, when it starts and whenever it is renewed.

    Attributes
    ----------
    name : str
        The plugin's name, and that of the content on the scheduler.
    filename : str
        The name of the file in the worker's folder.
    """

    # Registering it again does nothing: what it brings is elsewhere.
    idempotent = True
    name: ClassVar[str]
    filename: ClassVar[str]

    def settings(self, path: Path, options: Mapping[str, Any]) -> tuple[dict[str, str | None], dict[str, Any]]:
        """The variables that name the file, and what is to be told about this worker."""
        raise NotImplementedError

    def clean(self, path: Path) -> None:
        """Remove what `settings` made besides."""

    async def setup(self, worker: Any) -> None:
        """Called on every worker, before its first task."""
        await self.renew(worker)

    def teardown(self, worker: Any) -> None:
        """Remove the file, when the worker ends or the plugin is taken off."""
        if worker.status in (Status.closing, Status.closed, Status.failed):
            self._remove(worker)
        else:
            # A worker that is just joining may be given the plugin twice: the second takes the first one's place right
            # after this, and its file.
            asyncio.get_running_loop().call_soon(self._remove_unless_replaced, worker)

    async def renew(self, worker: Any) -> dict[str, Any]:
        """Fetch what is on the scheduler now, and put it in the place of what is here.

        Returns
        -------
        dict
            How it stands on this worker: ``digest`` of the content, ``path``, ``problem`` (None if all is well).
        """
        path = self._path(worker)
        try:
            async with _locks.setdefault(worker, asyncio.Lock()):
                record = await worker.scheduler.variable_get(name=self.name, client="", timeout=_FETCH_S)
                sent = record["value"]
                if sent is None:
                    self._remove(worker)
                if sent is None or self.name not in worker.plugins:
                    return {"digest": None, "path": str(path), "problem": "it was removed"}
                write_secret(path, sent["content"])
                settings, facts = self.settings(path, sent["options"])
                variables.set_for(str(path), settings)
        except TimeoutError:
            logger.error("%s: nothing was sent: call send_proxy(client) or send_token(client)", self.name)
            return {"digest": None, "path": str(path), "problem": "nothing was sent"}
        except Exception as error:
            # A worker without it can still do other work; its log tells, and the client's check().
            logger.exception("%s: the credential could not be put in place", self.name)
            return {"digest": None, "path": str(path), "problem": f"{type(error).__name__}: {error}"}
        return {"digest": sent["content"].digest(), "path": str(path), "problem": None, **facts}

    def _path(self, worker: Any) -> Path:
        return file_of(worker.local_directory, self.filename)

    def _remove_unless_replaced(self, worker: Any) -> None:
        if self.name not in worker.plugins:
            self._remove(worker)

    def _remove(self, worker: Any) -> None:
        variables.put_back(str(self._path(worker)))
        remove_secret(self._path(worker))
        self.clean(self._path(worker))


async def renew_on_worker(name: str, dask_worker: Any) -> dict[str, Any] | None:
    """Renew on one worker, and tell how it stands there; None on a worker that is just joining."""
    plugin = dask_worker.plugins.get(name)
    return None if plugin is None else await plugin.renew(dask_worker)
