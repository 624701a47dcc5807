from __future__ import annotations

import asyncio

import pytest
from dask_gateway import BasicAuth

from af_kit.cluster.gateway.client import GatewayClient
from af_kit.errors import ConnectError, InputError


@pytest.fixture
def nobody_listens(closed_port) -> GatewayClient:
    address, proxy_address = f"http://127.0.0.1:{closed_port}", f"gateway://127.0.0.1:{closed_port}"
    return GatewayClient(address, proxy_address, auth=BasicAuth("alice", "a-password"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"address": "127.0.0.1:8000"}, r"https://gateway.site/.*127.0.0.1:8000"),
        ({"address": "http://alice:a-password@127.0.0.1/"}, "contains a login.*auth="),
        ({"auth": "basics"}, "auth='basics' cannot be used.*jupyterhub"),
        ({"auth": ("alice", "a-password")}, "a tuple.*BasicAuth"),
    ],
)
def test_invalid_arguments_are_refused_without_the_password(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        GatewayClient(**{"address": "http://127.0.0.1", **arguments})
    assert "a-password" not in str(caught.value)


def test_the_login_is_not_in_the_repr_or_the_saved_addresses(nobody_listens):
    assert "a-password" not in repr(nobody_listens) + str(nobody_listens.addresses)


def test_a_gateway_that_cannot_be_reached(nobody_listens):
    with pytest.raises(ConnectError, match="connection refused"):
        nobody_listens.run(nobody_listens.check)
    with pytest.raises(ConnectError, match="connection refused"):
        nobody_listens.run(nobody_listens.clusters)
    with pytest.raises(ConnectError, match=r"its schedulers cannot be reached.*proxy_address="):
        nobody_listens.run(nobody_listens.check_proxy)


def test_requests_work_inside_a_running_event_loop(nobody_listens):
    async def cell() -> None:
        with pytest.raises(ConnectError):
            nobody_listens.run(nobody_listens.check)

    asyncio.run(cell())


def test_a_server_that_is_not_a_gateway(serve):
    port = serve(lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
    client = GatewayClient(f"http://127.0.0.1:{port}")
    with pytest.raises(ConnectError, match="a web server answers, but not as a gateway does"):
        client.run(client.check)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, r"does not let you in: it refuses 'alice' \(BasicAuth\) with status 401"),
        (403, "lets you in, but does not permit this"),
        (502, "a proxy answers with status 502"),
        (500, "did not list your clusters"),
    ],
)
def test_a_gateway_that_refuses(serve, status, message):
    answer = f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    port = serve(lambda connection: (connection.recv(4096), connection.sendall(answer), connection.close()))
    client = GatewayClient(f"http://127.0.0.1:{port}", auth=BasicAuth("alice", "a-password"))
    with pytest.raises(ConnectError, match=message) as caught:
        client.run(client.clusters)
    assert "a-password" not in str(caught.value)
