from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest

from af_kit.cluster.kubernetes import api


class Auth:
    """The login of kr8s with a kubeconfig: each one writes new files for certificates in the kubeconfig itself."""

    def __init__(self, folder: Path, user: dict[str, str]) -> None:
        self._folder, self._user, self._cluster = folder, user, {"certificate-authority-data": "x"}
        self._log_in()

    def _log_in(self) -> None:
        own = self._user.get("client-key")
        self.client_key_file = own or str(write(self._folder))
        self.client_cert_file, self.server_ca_file = write(self._folder), str(write(self._folder))

    async def reauthenticate(self) -> None:
        self._log_in()

    async def ssl_context(self) -> str:
        return Path(self.client_key_file).read_text()


def write(folder: Path) -> Path:
    path = Path(tempfile.mkstemp(dir=folder)[1])
    path.write_text("key")
    return path


@pytest.mark.parametrize("own", [False, True])
def test_no_file_with_a_key_remains_except_the_users(monkeypatch, tmp_path, own):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    user = {"client-key": str(write(tmp_path))} if own else {"client-key-data": "key"}
    auth = Auth(tmp_path, {**user, "client-certificate-data": "x"})

    async def use() -> None:
        await api._remove_key_files(auth)
        await auth.reauthenticate()
        assert await auth.ssl_context() == "key"

    asyncio.run(use())
    assert [str(path) for path in tmp_path.iterdir()] == ([user["client-key"]] if own else [])
