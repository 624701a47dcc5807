from __future__ import annotations

from collections.abc import Callable

import pytest

from af_kit.cluster import request
from af_kit.cluster.kubernetes import backend
from af_kit.cluster.kubernetes.context import SessionContext
from af_kit.errors import InputError


@pytest.fixture
def manifests(monkeypatch) -> Callable[..., list[dict]]:
    """Return the manifests that the arguments of ``connect`` lead to, for a session outside Kubernetes."""

    def make(memory=None, cores=None, **options) -> list[dict]:
        return backend.Kubernetes().start(request.check(memory=memory, cores=cores), image="kit:1", **options)

    outside = SessionContext(inside=False, namespace="u")
    monkeypatch.setattr(backend, "KubernetesCluster", lambda **given: given["make_manifests"](outside))
    return make


def test_a_group_with_options_of_its_own(manifests):
    gpu = {"cores": 4, "memory": "8 GiB", "resources": {"nvidia.com/gpu": 1}}
    gpu |= {"node_selector": {"pool": "gpu"}, "tolerations": [{"key": "gpu"}]}
    (group,) = manifests(groups={"gpu": gpu})[1:]
    spec = group["spec"]["worker"]["spec"]
    container = spec["containers"][0]
    assert group["metadata"]["name"] == f"{group['spec']['cluster']}-gpu"
    assert container["command"][container["command"].index("--resources") + 1] == "gpu=4"
    assert container["resources"]["limits"] == {"memory": str(8 << 30), "nvidia.com/gpu": "1"}
    assert (spec["nodeSelector"], spec["tolerations"]) == ({"pool": "gpu"}, [{"key": "gpu"}])


def test_a_group_without_options_is_like_the_other_workers(manifests):
    cluster, group = manifests(memory="3 GiB", cores=2, groups={"more": {}})
    other, theirs = (one["spec"]["worker"]["spec"]["containers"][0] for one in (cluster, group))
    assert theirs["resources"] == other["resources"]
    assert theirs["command"] == [*other["command"], "--resources", "more=2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": {"Big": {}}}, "name of a group"),
        ({"groups": {"default": {}}}, "name of a group"),
        ({"groups": {"b" * 60: {}}}, r"at most \d+ of"),
        ({"groups": {"big": {"memroy": "1 GiB"}}}, "'memory'"),
        ({"groups": {"big": {"n_workers": "two"}}}, "not a number of workers"),
        ({"groups": {"big": {"memory": "much"}}}, "memory='much'"),
        ({"security": True}, "does not support TLS"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_created(options, message):
    common = request.check(security=options.pop("security", None))
    with pytest.raises(InputError, match=message):
        backend.Kubernetes().start(common, asynchronous=True, **options)
