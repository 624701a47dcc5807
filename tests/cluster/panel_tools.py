"""A real Jupyter server, which receives the requests of JupyterLab's Dask panel."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from cluster_tools import eventually

TOKEN = "only-for-this-test"
# A busy machine may need this long to start a few processes.
PATIENCE_S = 120


class Lab:
    """A Jupyter server in a separate process, at /user/alice/ as on a hub."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.runtime = folder / "runtime"
        self.log = folder / "server.log"
        folder.mkdir(exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        names = {"JUPYTER_RUNTIME_DIR": str(self.runtime), "IPYTHONDIR": str(folder), "JUPYTER_CONFIG_DIR": str(folder)}
        self.environment = {**os.environ, **names, "DASK_AF_KIT__CLUSTER__TIMEOUT_S": str(PATIENCE_S), **variables}
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
        settings = [f"--port={self.port}", "--ServerApp.base_url=/user/alice/", f"--IdentityProvider.token={TOKEN}"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *settings, "--ServerApp.port_retries=0"],
                cwd=folder, env=self.environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        if not eventually(lambda: self.get("api/status")[0] == 200, within_s=PATIENCE_S):
            self.stop()
            raise RuntimeError(self.log.read_text())

    def get(self, path: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
        """Return status and answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/user/alice/{path}",
            method=method,
            headers={"Authorization": f"token {TOKEN}"},
            data=None if body is None else json.dumps(body).encode(),
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                status, content = response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read().decode()
        except OSError:
            return 0, None
        try:
            return status, json.loads(content)
        except ValueError:
            return status, content

    def workers(self, cluster: str) -> int:
        return self.get(f"dask/clusters/{cluster}")[1]["workers"]

    def run(self, code: str) -> dict[str, Any]:
        """Run code as in a notebook of this server. Return the JSON in its last line of output."""
        environment = {**self.environment, "JPY_PARENT_PID": str(self.process.pid)}
        command = [sys.executable, "-c", f"import json\nimport af_kit\n{code}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return {"said": done.stdout, **json.loads(done.stdout.splitlines()[-1])}

    def children(self) -> set[int]:
        """Return the other processes in the server's process session."""
        listed = subprocess.run(["ps", "-eo", "pid=,sess=,stat="], capture_output=True, text=True, check=True).stdout
        rows = [line.split() for line in listed.splitlines()]
        pids = {int(pid) for pid, sess, stat in rows if int(sess) == self.process.pid and "Z" not in stat}
        return pids - {self.process.pid}

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
