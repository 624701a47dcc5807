"""Replicas on servers that did not answer are tried last, for a minute."""

from af_kit.data.transport import servers


def test_an_unreachable_server_comes_last_for_a_while(monkeypatch):
    monkeypatch.setattr(servers, "_failed", {})
    replicas = ("root://a//f", "root://b//f", "root://a:1094//f", "/local/f")
    assert servers.reachable_first(replicas) == list(replicas)
    servers.mark_unreachable("root://a//other")
    assert servers.reachable_first(replicas) == ["root://b//f", "root://a:1094//f", "/local/f", "root://a//f"]
    servers.mark_reachable("root://a//other")
    assert servers.reachable_first(replicas) == list(replicas)
    servers.mark_unreachable("root://a//other")
    monkeypatch.setattr(servers, "_UNREACHABLE_S", 0.0)
    assert servers.reachable_first(replicas) == list(replicas)
