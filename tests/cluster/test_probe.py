"""What is found at an address where no scheduler answers."""

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
    for obstacle in (look(closed_port), connection("127.0.0.1", closed_port, timeout_s=0.5)):
        assert obstacle is not None
        assert "refused" in obstacle.reason
        assert not obstacle.lasting  # it may be about to start


def test_unknown_host(monkeypatch: pytest.MonkeyPatch):
    def unknown(*args: object, **kwargs: object):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    obstacle = look(8786, host="no-such-host.invalid")
    assert obstacle is not None
    assert "no host 'no-such-host.invalid'" in obstacle.reason
    assert obstacle.lasting


def test_names_cannot_be_looked_up_now(monkeypatch: pytest.MonkeyPatch):
    def no_network(*args: object, **kwargs: object):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    obstacle = look(8786, host="host.example")
    assert obstacle is not None
    assert "cannot be looked up now" in obstacle.reason
    assert not obstacle.lasting


def test_no_route(monkeypatch: pytest.MonkeyPatch):
    def silence(*args: object, **kwargs: object):
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", silence)
    obstacle = look(8786, host="host.example")
    assert obstacle is not None
    assert "host.example does not answer on port 8786" in obstacle.reason
    assert "firewall" in obstacle.advice


def test_another_service(serve):
    obstacle = look(serve(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")))
    assert obstacle is not None
    assert "'SSH-2.0-'" in obstacle.reason
    assert obstacle.lasting


def test_another_service_with_few_words(serve):
    def answer(connection: socket.socket) -> None:
        connection.sendall(b"220\r\n")
        connection.shutdown(socket.SHUT_WR)

    obstacle = look(serve(answer))
    assert obstacle is not None
    assert "'220'" in obstacle.reason


def test_a_tunnel_without_a_far_end(serve):
    obstacle = look(serve(lambda connection: connection.close()))
    assert obstacle is not None
    assert "closes it" in obstacle.reason
    assert "tunnel" in obstacle.advice
    assert not obstacle.lasting


def test_silence(serve):
    obstacle = look(serve(lambda connection: None))
    assert obstacle is not None
    assert "says nothing" in obstacle.reason
    assert not obstacle.lasting  # perhaps only busy


def test_the_dashboards_port(web_server: int):
    obstacle = look(web_server)
    assert obstacle is not None
    assert "web server" in obstacle.reason
    assert "dashboard" in obstacle.advice
    assert obstacle.lasting


def test_a_scheduler_that_wants_tls(secured: LocalCluster):
    obstacle = look(secured.scheduler.port)
    assert obstacle is not None
    assert "wants TLS" in obstacle.reason
    assert "tls://" in obstacle.advice
    assert obstacle.lasting


def test_a_scheduler_without_tls(running: LocalCluster, certificates: Security, caplog: pytest.LogCaptureFixture):
    obstacle = look(running.scheduler.port, context=context_of(certificates))
    assert obstacle is not None
    assert "does not speak TLS" in obstacle.reason
    assert "tcp://" in obstacle.advice
    assert obstacle.lasting


def test_another_authority(secured: LocalCluster):
    obstacle = look(secured.scheduler.port, context=context_of(Security.temporary()))
    assert obstacle is not None
    assert "not trusted" in obstacle.reason
    assert "tls_ca_file" in obstacle.advice
    assert obstacle.lasting


def test_a_certificate_that_the_scheduler_refuses(secured: LocalCluster):
    bare = ssl.create_default_context()
    bare.check_hostname = False
    bare.verify_mode = ssl.CERT_NONE
    obstacle = look(secured.scheduler.port, context=bare)
    assert obstacle is not None
    assert "refuses this session's certificate" in obstacle.reason
    assert "tls_client_cert" in obstacle.advice
    assert obstacle.lasting


def test_tls_asked_of_one_that_stays_silent(serve, certificates: Security):
    obstacle = look(serve(lambda connection: None), context=context_of(certificates))
    assert obstacle is not None
    assert "TLS" in obstacle.reason
    assert not obstacle.lasting
