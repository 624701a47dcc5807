"""Visit a lab without a browser: get pages, and run code in a kernel."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import websocket

PATIENCE_S = 120


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


# Neither redirects nor the machine's own web proxy
_OPENER = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Visitor:
    """A visitor at the address of a lab, with or without a token."""

    address: str  # http://127.0.0.1:PORT
    token: str = ""

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Return the status and the text of a page, without following redirects."""
        return self._ask("GET", path, headers=headers)

    @contextmanager
    def kernel(self) -> Iterator[Callable[[str], str]]:
        """Yield a function that runs code in a new kernel and returns what it prints or raises what it raises."""
        status, answer = self._ask("POST", "/api/kernels", body={"name": "python3"})
        assert status == 201, answer
        kernel = json.loads(answer)["id"]
        try:
            yield lambda code: self._run(kernel, code)
        finally:
            self._ask("DELETE", f"/api/kernels/{kernel}")

    def _run(self, kernel: str, code: str) -> str:
        url = f"{self.address.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels"
        socket = websocket.create_connection(url, timeout=PATIENCE_S, header=self._headers())
        code_request = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        try:
            # A new socket misses output until its subscription is established; this status shows that it is.
            waits = (1, 2, 4, 8, 16, PATIENCE_S)
            assert any(_request(socket, "kernel_info_request", {}, within_s) is not None for within_s in waits)
            printed = _request(socket, "execute_request", {**code_request, "user_expressions": {}}, PATIENCE_S)
            assert printed is not None, f"The kernel did not finish within {PATIENCE_S} s: {code}"
            return printed
        finally:
            socket.close()

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"token {self.token}"} if self.token else {}

    def _ask(
        self, method: str, path: str, *, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.address + path, data, {**self._headers(), **(headers or {})}, method=method
        )
        try:
            with _OPENER.open(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def _request(socket: websocket.WebSocket, kind: str, content: dict[str, Any], within_s: float) -> str | None:
    """Return what a request to the kernel prints, once its reply and the status "idle" are here; None if they are late.

    The reply and the output arrive on different channels, so the reply may be first.
    """
    header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "username": "", "session": "", "version": "5.3"}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    socket.send(json.dumps(message))
    printed, missing = "", {"reply", "idle"}
    deadline = time.monotonic() + within_s
    while missing:
        socket.settimeout(max(deadline - time.monotonic(), 0.01))
        try:
            answer = json.loads(socket.recv())
        except websocket.WebSocketTimeoutException:
            return None
        if answer["parent_header"].get("msg_id") != header["msg_id"]:
            continue
        match answer["msg_type"]:
            case "stream":
                printed += answer["content"]["text"]
            case "error":
                raise AssertionError("\n".join(answer["content"]["traceback"]) + printed)
            case "status":
                missing -= {answer["content"]["execution_state"]}
            case "execute_reply" | "kernel_info_reply":
                missing.discard("reply")
    return printed
