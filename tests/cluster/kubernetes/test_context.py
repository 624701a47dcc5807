from __future__ import annotations

import pytest

from af_kit.cluster.kubernetes.context import SessionContext, image_for
from af_kit.errors import InputError

POD = {
    "metadata": {"name": "jupyter-a", "uid": "7"},
    "spec": {"containers": [{"name": "proxy", "image": "sidecar"}, {"name": "notebook", "image": "kit:1"}]},
}


@pytest.fixture(autouse=True)
def outside_a_hub(monkeypatch):
    for name in ("JUPYTER_IMAGE_SPEC", "JUPYTER_IMAGE"):
        monkeypatch.delenv(name, raising=False)


def test_the_image_is_the_notebooks_unless_another_is_given(monkeypatch):
    inside = SessionContext(inside=True, namespace="u", pod=POD)
    assert image_for(inside, None, None) == "kit:1"
    monkeypatch.setenv("JUPYTER_IMAGE", "chosen:2")
    assert image_for(inside, None, None) == "chosen:2"
    assert image_for(inside, None, "site:3") == "site:3"
    assert image_for(inside, "mine:4", "site:3") == "mine:4"


def test_outside_a_pod_there_is_no_default_image():
    with pytest.raises(InputError, match="Which image"):
        image_for(SessionContext(inside=False, namespace="u"), None, None)


def test_the_sessions_pod_owns_its_clusters():
    assert SessionContext(inside=False, namespace="u").owner is None
    assert SessionContext(inside=True, namespace="u", pod=POD).owner == {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "jupyter-a",
        "uid": "7",
    }
