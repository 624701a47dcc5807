"""The reasons why no scheduler answers at an address."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
from distributed import LocalCluster, Security

from af_kit.cluster.probe import connection, probe


def look(port: int, *, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"):
    return probe(host, port, context=context, timeout_s=0.5)


def context_of(security: Security) -> ssl.SSLContext:
    return security.get_connection_args("client")["ssl_context"]


@pytest.fixture(scope="module")
def web_server() -> Iterator[int]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_scheduler(running: LocalCluster):
    assert look(running.scheduler.port) is None


def test_a_scheduler_with_tls(secured: LocalCluster, certificates: Security):
    assert look(secured.scheduler.port, context=context_of(certificates)) is None


def test_nothing_listens(closed_port: int):
    for failure in (look(closed_port), connection("127.0.0.1", closed_port, timeout_s=0.5)):
        assert failure is not None
        assert "refused" in failure.reason
        assert not failure.permanent  # it may be about to start


@pytest.mark.parametrize(
    ("code", "reason", "permanent"),
    [
        (socket.EAI_NONAME, "no host 'host.example'", True),
        (socket.EAI_AGAIN, "cannot be looked up now", False),
    ],
)
def test_a_name_without_an_address(monkeypatch: pytest.MonkeyPatch, code: int, reason: str, permanent: bool):
    def refuse(*args: object, **kwargs: object):
        raise socket.gaierror(code, "as the resolver answers")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    failure = look(8786, host="host.example")
    assert failure is not None
    assert reason in failure.reason
    assert failure.permanent == permanent


def test_no_route(monkeypatch: pytest.MonkeyPatch):
    def silence(*args: object, **kwargs: object):
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", silence)
    failure = look(8786, host="host.example")
    assert failure is not None
    assert "host.example does not answer on port 8786" in failure.reason
    assert "firewall" in failure.advice


def test_another_service(serve):
    failure = look(serve(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")))
    assert failure is not None
    assert "'SSH-2.0-'" in failure.reason
    assert failure.permanent


def test_another_service_with_a_short_answer(serve):
    def answer(connection: socket.socket) -> None:
        connection.sendall(b"220\r\n")
        connection.shutdown(socket.SHUT_WR)

    failure = look(serve(answer))
    assert failure is not None
    assert "'220'" in failure.reason


def test_a_tunnel_without_its_other_end(serve):
    failure = look(serve(lambda connection: connection.close()))
    assert failure is not None
    assert "closes it" in failure.reason
    assert "tunnel" in failure.advice
    assert not failure.permanent


def test_silence(serve):
    failure = look(serve(lambda connection: None))
    assert failure is not None
    assert "sends nothing" in failure.reason
    assert not failure.permanent  # perhaps only busy


def test_the_dashboards_port(web_server: int):
    failure = look(web_server)
    assert failure is not None
    assert "web server" in failure.reason
    assert "dashboard" in failure.advice
    assert failure.permanent


def test_a_scheduler_that_requires_tls(secured: LocalCluster):
    failure = look(secured.scheduler.port)
    assert failure is not None
    assert "requires TLS" in failure.reason
    assert "tls://" in failure.advice
    assert failure.permanent


def test_a_scheduler_without_tls(running: LocalCluster, certificates: Security, caplog: pytest.LogCaptureFixture):
    failure = look(running.scheduler.port, context=context_of(certificates))
    assert failure is not None
    assert "does not use TLS" in failure.reason
    assert "tcp://" in failure.advice
    assert failure.permanent


def test_another_authority(secured: LocalCluster):
    failure = look(secured.scheduler.port, context=context_of(Security.temporary()))
    assert failure is not None
    assert "not trusted" in failure.reason
    assert "tls_ca_file" in failure.advice
    assert failure.permanent


def test_a_certificate_that_the_scheduler_refuses(secured: LocalCluster):
    bare = ssl.create_default_context()
    bare.check_hostname = False
    bare.verify_mode = ssl.CERT_NONE
    failure = look(secured.scheduler.port, context=bare)
    assert failure is not None
    assert "refuses this session's certificate" in failure.reason
    assert "tls_client_cert" in failure.advice
    assert failure.permanent


def test_tls_with_a_silent_server(serve, certificates: Security):
    failure = look(serve(lambda connection: None), context=context_of(certificates))
    assert failure is not None
    assert "TLS" in failure.reason
    assert not failure.permanent
