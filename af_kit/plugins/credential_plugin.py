"""Worker plugins for credentials: fetch one from the scheduler, keep it in a private file, set its variables.

The plugin itself contains no secret, because Dask pickles plugins, and a worker that cannot load one (with another
version of the kit) writes the pickle to its log. The content is a `distributed.Variable` on the scheduler, which never
deserializes it, and each worker fetches it at its start.

A renewal does not register the plugin again: that would tear down the old plugin first, and the file would be missing
for a moment.
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
from distributed.protocol import dask_deserialize, dask_serialize

from af_kit.credentials import environment_variables
from af_kit.credentials.secret import SecretBytes, remove_secret, secret_path, write_secret

__all__ = ["CredentialPlugin", "SecretMessage", "renew_on_worker"]

# Below Dask's logger, so that client.get_worker_logs() includes it.
logger = logging.getLogger("distributed.worker.af_kit")

# The variable is set before the plugin is registered: a longer wait means that nothing was sent.
_FETCH_TIMEOUT_S = 10
# One fetch at a time per worker, so that an older answer cannot overwrite a newer one.
_locks: weakref.WeakKeyDictionary[Any, asyncio.Lock] = weakref.WeakKeyDictionary()


class SecretMessage(SecretBytes):
    """A secret that Dask's connections can transfer, with the serializer below; ``pickle`` still refuses it.

    A receiver imports this module when it loads the type, and with it the serializer.
    """

    __slots__ = ()


@dask_serialize.register(SecretMessage)
def _serialize(secret: SecretMessage) -> tuple[dict[str, Any], list[bytes]]:
    return {}, [secret.reveal()]


@dask_deserialize.register(SecretMessage)
def _deserialize(header: dict[str, Any], frames: list[Any]) -> SecretMessage:
    return SecretMessage(b"".join(frames))


class CredentialPlugin(WorkerPlugin):
    """Delivers a credential to a worker at its start and at each renewal.

    Attributes
    ----------
    name : str
        The name of the plugin, and of the content on the scheduler.
    filename : str
        The name of the file in the worker's folder.
    """

    # Registering the plugin again does nothing: the content is a separate variable.
    idempotent = True
    name: ClassVar[str]
    filename: ClassVar[str]

    def settings(self, path: Path, options: Mapping[str, Any]) -> tuple[dict[str, str | None], dict[str, Any]]:
        """Return the environment variables for the file, and further entries for the worker's state."""
        raise NotImplementedError

    def clean_up(self, path: Path) -> None:
        """Remove what `settings` created in addition to the file."""

    async def setup(self, worker: Any) -> None:
        """Fetch the credential before the worker's first task."""
        await self.renew(worker)

    def teardown(self, worker: Any) -> None:
        """Remove the file when the worker ends or the plugin is unregistered."""
        if worker.status in (Status.closing, Status.closed, Status.failed):
            self._remove(worker)
        else:
            # A joining worker can receive the plugin twice: right after this, the second one takes over the file.
            asyncio.get_running_loop().call_soon(self._remove_unless_replaced, worker)

    async def renew(self, worker: Any) -> dict[str, Any]:
        """Fetch the scheduler's current content, and replace the file with it.

        Returns
        -------
        dict
            The state on this worker: ``digest`` of the content, ``path``, ``problem`` (None if there is none).
        """
        path = self._path(worker)
        try:
            async with _locks.setdefault(worker, asyncio.Lock()):
                record = await worker.scheduler.variable_get(name=self.name, client="", timeout=_FETCH_TIMEOUT_S)
                message = record["value"]
                if message is None:
                    self._remove(worker)
                if message is None or self.name not in worker.plugins:
                    return {"digest": None, "path": str(path), "problem": "it was removed"}
                write_secret(path, message["content"])
                settings, state = self.settings(path, message["options"])
                environment_variables.set_for(str(path), settings)
        except TimeoutError:
            logger.error("%s: nothing was sent: call send_proxy(client) or send_token(client)", self.name)
            return {"digest": None, "path": str(path), "problem": "nothing was sent"}
        except Exception as error:
            # The worker can still do other work. Its log and the client's check() show the problem.
            logger.exception("%s: the credential could not be written", self.name)
            return {"digest": None, "path": str(path), "problem": f"{type(error).__name__}: {error}"}
        return {"digest": message["content"].digest(), "path": str(path), "problem": None, **state}

    def _path(self, worker: Any) -> Path:
        return secret_path(worker.local_directory, self.filename)

    def _remove_unless_replaced(self, worker: Any) -> None:
        if self.name not in worker.plugins:
            self._remove(worker)

    def _remove(self, worker: Any) -> None:
        environment_variables.restore(str(self._path(worker)))
        remove_secret(self._path(worker))
        self.clean_up(self._path(worker))


async def renew_on_worker(name: str, dask_worker: Any) -> dict[str, Any] | None:
    """Renew a credential on one worker and return its state there; None on a worker that is just joining."""
    plugin = dask_worker.plugins.get(name)
    return None if plugin is None else await plugin.renew(dask_worker)
