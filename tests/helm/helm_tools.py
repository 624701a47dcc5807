"""Render the chart as it is deployed, and evaluate its NetworkPolicies as a network that enforces them does."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

from services.kubernetes.values import CHART as HELM
from services.kubernetes.values import DEPENDENCIES, merged

SITES = sorted((HELM / "sites").glob("*.yaml"))
NAMESPACE = "af"
OWN = {name: {"enabled": False} for name in DEPENDENCIES}


def site(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def rendered(values: Mapping[str, Any] | None = None, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
    """Return the objects of the chart, including those of its dependencies only if ``values`` enable them."""
    chart = Chart.load(HELM)
    texts = chart.render(merged(OWN, values or {}), name="af", namespace=namespace)
    return [
        document
        for name, text in sorted(texts.items())
        if not name.endswith("NOTES.txt")
        for document in yaml.safe_load_all(text)
        if document
    ]


# -------------------------------------------------------------------------------------------------- network policies


@dataclass(frozen=True)
class Pod:
    """One end of a connection: a pod, or an address outside of the cluster."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str = NAMESPACE
    address: str | None = None


def allowed(policies: Iterable[Mapping[str, Any]], source: Pod, target: Pod, port: int, protocol: str = "TCP") -> bool:
    """Return whether the policies allow ``source`` to connect to ``target``."""
    policies = list(policies)
    return _side(policies, source, target, port, protocol, "Egress") and _side(
        policies, target, source, port, protocol, "Ingress"
    )


def _side(policies: list, pod: Pod, other: Pod, port: int, protocol: str, direction: str) -> bool:
    if pod.address is not None:
        return True  # policies only apply to pods
    mine = [
        policy
        for policy in policies
        if pod.namespace == policy["metadata"].get("namespace", NAMESPACE)
        and direction in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], pod.labels)
    ]
    if not mine:
        return True
    peers = "to" if direction == "Egress" else "from"
    return any(
        _has_port(rule, port, protocol) and (peers not in rule or any(_is(peer, other) for peer in rule[peers]))
        for policy in mine
        for rule in policy["spec"].get(direction.lower(), [])
    )


def _has_port(rule: Mapping[str, Any], port: int, protocol: str) -> bool:
    return "ports" not in rule or any((p["port"], p.get("protocol", "TCP")) == (port, protocol) for p in rule["ports"])


def _is(peer: Mapping[str, Any], other: Pod) -> bool:
    if "ipBlock" in peer:
        if other.address is None:
            return False  # the policies select pods by labels, not by address
        address, block = ipaddress.ip_address(other.address), peer["ipBlock"]
        inside = address in ipaddress.ip_network(block["cidr"])
        return inside and not any(address in ipaddress.ip_network(net) for net in block.get("except", []))
    if other.address is not None:
        return False
    if "namespaceSelector" in peer:
        assert peer["namespaceSelector"] == {}  # all namespaces, the only case in this chart
    elif other.namespace != NAMESPACE:
        return False
    return _selects(peer.get("podSelector", {}), other.labels)


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "Exists"
        if expression["key"] not in labels:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
