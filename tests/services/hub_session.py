"""A hub's user without a browser: pages, requests and web sockets through the hub's proxy, and notebook kernels."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from services.common import wait_until

# Seconds for each step, on a busy machine.
PATIENCE_S = 180
# Style sheets and scripts of a page.
_PARTS = re.compile(r"""(?:href|src)=["']([^"'#]+\.(?:css|js)(?:\?[^"']*)?)["']""")


class Session:
    """A user's session with the hub at ``url``."""

    def __init__(self, url: str, user: str, log: Path | None = None) -> None:
        self.url, self.user, self.log, self.http = url, user, log, requests.Session()
        # The proxy closes idle connections, perhaps just when the next request is sent.
        self.http.headers["Connection"] = "close"

    def start_server(self) -> None:
        self.http.get(f"{self.url}/hub/spawn/{self.user}", timeout=PATIENCE_S)
        self.wait_for_server()

    def wait_for_server(self) -> None:
        def answers() -> bool:
            answer = self.get("lab")
            return answer.ok and answer.url.startswith(self.at("lab"))

        wait_until(answers, f"The server of {self.user} does not answer", within_s=PATIENCE_S, log=self.log)

    def at(self, path: str) -> str:
        return f"{self.url}/user/{self.user}/{path}"

    def get(self, path: str) -> requests.Response:
        return self.http.get(self.at(path), timeout=60)

    def ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        """Send a request that changes something, with the XSRF token of the server's pages."""
        self.get("lab")
        (token,) = {cookie.value for cookie in self.http.cookies if cookie.name == "_xsrf" and self.user in cookie.path}
        headers = {"X-XSRFToken": token}
        return self.http.request(method, self.at(path), json=body, headers=headers, timeout=PATIENCE_S)

    async def socket(self, path: str, **options: Any) -> WebSocketClientConnection:
        """Open a web socket of the user's server."""
        cookies = "; ".join(
            f"{cookie.name}={cookie.value}"
            for cookie in self.http.cookies
            if cookie.path in ("/", f"/user/{self.user}/")
        )
        headers = {"Cookie": cookies, "Origin": self.url}
        request = HTTPRequest(self.at(path).replace("http://", "ws://"), headers=headers, request_timeout=60)
        return await websocket_connect(request, **options)


class Kernel:
    """A notebook kernel of the user's server, used through the same messages as JupyterLab's."""

    def __init__(self, session: Session, folder: str = "") -> None:
        self._session, self._name = session, uuid.uuid4().hex
        self._id = session.ask("POST", "api/kernels", {"name": "python3", "path": folder}).json()["id"]

    def run(self, code: str, *, within_s: float = PATIENCE_S) -> str:
        """Run code and return what it prints."""
        return asyncio.run(self._run(code, within_s))

    def run_notebook(self, path: str, *, within_s: float = PATIENCE_S) -> str:
        """Run all cells of one of the user's notebooks, and return what they print."""
        cells = self._session.get(f"api/contents/{path}").json()["content"]["cells"]
        code = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
        assert code
        return "".join(self.run(cell, within_s=within_s) for cell in code)

    async def _run(self, code: str, within_s: float) -> str:
        socket = await self._session.socket(f"api/kernels/{self._id}/channels")
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False, "stop_on_error": True}
        try:
            # A new socket misses output until its subscription is established; an answer shows that it is.
            for wait_s in (1, 2, 4, 8, 16, PATIENCE_S):
                if await self._request(socket, "kernel_info_request", {}, wait_s) is not None:
                    break
            printed = await self._request(socket, "execute_request", {**content, "user_expressions": {}}, within_s)
            assert printed is not None, f"The kernel did not finish within {within_s} s: {code}"
            return printed
        finally:
            socket.close()

    async def _request(
        self, socket: WebSocketClientConnection, kind: str, content: dict[str, Any], within_s: float
    ) -> str | None:
        """Return what a request prints once its reply and the status "idle" are here; None if they are late."""
        header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "session": self._name, "version": "5.3", "date": ""}
        header["username"] = self._session.user
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        await socket.write_message(json.dumps({**message, "buffers": []}))
        try:
            async with asyncio.timeout(within_s):
                return await self._printed(socket, header["msg_id"])
        except TimeoutError:
            return None

    async def _printed(self, socket: WebSocketClientConnection, request: str) -> str:
        printed: list[str] = []
        idle, reply = False, None
        while not (idle and reply):
            received = await socket.read_message()
            assert received is not None, "the kernel's web socket was closed"
            if isinstance(received, bytes):  # a message with buffers, from widgets
                continue
            message = json.loads(received)
            kind, content = message["header"]["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != request:
                continue
            if kind == "stream" and content["name"] == "stdout":
                printed.append(content["text"])
            elif kind == "status":
                idle = content["execution_state"] == "idle"
            elif kind.endswith("_reply"):
                reply = content
        assert reply["status"] == "ok", re.sub(r"\x1b\[[\d;]*m", "", "\n".join(reply.get("traceback", [str(reply)])))
        return "".join(printed)

    def stop(self) -> None:
        self._session.ask("DELETE", f"api/kernels/{self._id}")


def check_dashboard(session: Session, dashboard: str) -> None:
    """Check Dask's dashboard below the path ``dashboard``: its pages, what they load, and their web socket."""
    page = f"{dashboard}/individual-task-stream"
    answers = [session.get(f"{dashboard}/status"), session.get(page)]
    assert [answer.status_code for answer in answers] == [200, 200]
    parts = {urljoin(answer.url, part) for answer in answers for part in re.findall(_PARTS, answer.text)}
    seen = {part: session.http.get(part, timeout=60) for part in parts if part.startswith(session.url)}
    assert any(part.endswith(".css") for part in seen), parts
    assert any("bokeh.min.js" in part for part in seen), parts
    assert {part: got.status_code for part, got in seen.items() if not got.ok} == {}
    first = asyncio.run(_first_message(session, page, answers[1].text))
    assert first["msgtype"] == "ACK"  # Bokeh's first message: the figure is updated


async def _first_message(session: Session, page: str, html: str) -> dict[str, Any]:
    """Return the first message on the web socket that a page of the dashboard opens."""
    (token,) = set(re.findall(r'"token":"([^"]+)"', html))
    socket = await session.socket(f"{page}/ws", subprotocols=["bokeh", token])
    async with asyncio.timeout(60):
        message = await socket.read_message()
    socket.close()
    assert message is not None
    return json.loads(message)
