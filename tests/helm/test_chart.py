"""The chart as deployed: its objects, its values, and its versions, which must agree with the repository."""

from __future__ import annotations

import json
import re
from collections import Counter

import dask.config
import pytest
import yaml
from helm_python import Chart, lint
from helm_tools import DEPENDENCIES, HELM, NAMESPACE, SITES, merged, rendered, site

import af_kit
from af_kit import config
from af_kit.cluster.kubernetes import network_policy, permissions
from services.kubernetes.values import have_dependencies

ROOT = HELM.parent
VALUES = yaml.safe_load((HELM / "values.yaml").read_text())

# The chart's own objects by kind: otherwise nothing would detect a template that renders to nothing
OWN_OBJECTS = {
    "ServiceAccount": 2, "Role": 2, "RoleBinding": 2, "Job": 1, "ResourceQuota": 1, "LimitRange": 1,
    "NetworkPolicy": 2, "ValidatingAdmissionPolicy": 2, "ValidatingAdmissionPolicyBinding": 2,
}  # fmt: skip


def kinds(objects: list[dict]) -> Counter[str]:
    return Counter(item["kind"] for item in objects)


def the(objects: list[dict], kind: str, name: str) -> dict:
    (found,) = [item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def test_the_chart_renders_all_its_objects():
    assert kinds(rendered()) == OWN_OBJECTS


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_a_sites_values_render(path):
    values = site(path)
    Chart.load(HELM).validate_schema(values)
    expected = Counter(OWN_OBJECTS)
    expected["PersistentVolumeClaim"] += "cvmfs" in path.stem
    expected += Counter()  # without zeros
    assert kinds(rendered({name: value for name, value in values.items() if name not in DEPENDENCIES})) == expected


@pytest.mark.parametrize("path", [None, *SITES], ids=lambda path: path.stem if path else "values")
def test_the_chart_renders_with_its_dependencies(path):
    if not have_dependencies():
        pytest.skip("helm/charts is empty: helm dependency update helm")
    values = merged({name: {"enabled": True} for name in DEPENDENCIES}, site(path) if path else {})
    chart = Chart.load(HELM)
    chart.validate_schema(values)
    found = kinds(rendered(values))
    assert found["Deployment"] >= 3  # hub, proxy, operator
    assert all(found[kind] >= count for kind, count in OWN_OBJECTS.items())
    with pytest.raises(Exception, match="singleuser"):
        chart.validate_schema(merged(values, {"jupyterhub": {"singleuser": {"imagee": {}}}}))


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"qouta": {"enabled": False}}, "qouta"),
        ({"networkPolicy": {"schedulers": "everybody"}}, "schedulers"),
        ({"podSecurity": {"level": "strict"}}, "level"),
        ({"networkPolicy": {"apiServer": {"cidrs": ["10.0.0.1"]}}}, "cidrs"),
        ({"users": {"serviceAccount": "Alice"}}, "serviceAccount"),
    ],
)
def test_invalid_values_are_refused(values, name):
    chart = Chart.load(HELM)
    with pytest.raises(Exception, match=name):
        chart.validate_schema(merged(VALUES, values))


def test_the_schema_has_each_value():
    schema = json.loads((HELM / "values.schema.json").read_text())

    def check(values: dict, known: dict, above: str = "") -> None:
        for name, value in values.items():
            assert name in known["properties"], f"{above}{name}"
            inner = known["properties"][name]
            if isinstance(value, dict) and inner.get("additionalProperties") is False:
                check(value, inner, f"{above}{name}.")

    check(VALUES, schema)


def test_lint_finds_nothing():
    accepted = ["icon is recommended"]
    if not have_dependencies():
        accepted.append("missing these dependencies")
    errors = [message["error"] for message in lint(HELM)["messages"]]
    assert not [error for error in errors if not any(text in error for text in accepted)]


# ------------------------------------------------------------------------------------------------- what users may do


def test_the_role_grants_what_connect_needs_and_little_more():
    role = the(rendered(), "Role", VALUES["users"]["serviceAccount"])
    given = {
        permissions.Permission(verb, resource, group)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    asked = {
        *permissions.TO_START,
        *permissions.TO_ADAPT,
        *permissions.TO_ADD_GROUPS,
        *permissions.TO_DIAGNOSE,
        network_policy.PERMISSION,
    }
    assert asked <= given
    more = {permissions.Permission(verb, "secrets") for verb in ("create", "patch")}
    more.add(permissions.Permission("get", "daskautoscalers", "kubernetes.dask.org"))
    assert given - asked == more
    assert not any(verb == "*" or resource == "*" for verb, resource, _ in given)


def test_users_servers_have_the_service_account_and_no_secret():
    assert VALUES["jupyterhub"]["singleuser"]["serviceAccountName"] == VALUES["users"]["serviceAccount"]
    text = (HELM / "values.yaml").read_text() + "".join(path.read_text() for path in SITES)
    assert not re.search(r"(?i)(client_secret|password|cookie_secret|crypt_key)\s*: *\S", text)
    assert "Secret" not in kinds(rendered())


@pytest.mark.parametrize("path", [None, *SITES], ids=lambda path: path.stem if path else "values")
def test_the_dask_configuration_is_valid(path):
    values = merged(VALUES, site(path)) if path else VALUES
    text = values["jupyterhub"]["singleuser"]["extraFiles"]["dask"]["stringData"]
    with dask.config.set(yaml.safe_load(text)):
        assert config.get("cluster.backend") == "kubernetes"
        mounts = config.get("cluster.kubernetes")["volume_mounts"]
    assert [mount["mountPath"] for mount in mounts] == (["/cvmfs"] if path and "cvmfs" in path.stem else [])


# ---------------------------------------------------------------------------------------------------------- versions


def locked(name: str, lock: str = "requirements.lock") -> str:
    found = re.search(rf"^{name}==([^\s;]+)", (ROOT / lock).read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


PINNED = {
    chart["name"]: chart["version"] for chart in yaml.safe_load((HELM / "Chart.yaml").read_text())["dependencies"]
}
# The JupyterHub version of each release of the chart, from zero-to-jupyterhub's changelog
# (https://z2jh.jupyter.org/en/stable/changelog.html): "4.4.0 upgrades JupyterHub to 5.5.0"
HUBS = {"4.4": "5.5"}
LOCKS = ("requirements.lock", "docker/requirements.lock", "services/kubernetes/facility/requirements.lock")


def test_versions_agree():
    chart = yaml.safe_load((HELM / "Chart.yaml").read_text())
    label = re.search(r'image\.version="([^"]+)"', (ROOT / "docker/Dockerfile").read_text())
    assert label is not None
    assert chart["appVersion"] == af_kit.__version__ == label[1]
    assert VALUES["dask-kubernetes-operator"]["image"]["tag"] == PINNED["dask-kubernetes-operator"]


@pytest.mark.parametrize("lock", LOCKS)
def test_locked_versions_match_the_charts(lock):
    assert locked("dask-kubernetes", lock) == PINNED["dask-kubernetes-operator"]
    # With another major version than the hub's, a user's server may fail to log in; with another minor one, it warns.
    assert minor(locked("jupyterhub", lock)) == HUBS[minor(PINNED["jupyterhub"])]


def minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def test_each_image_of_the_profile_list_has_this_version():
    hub = VALUES["jupyterhub"]["singleuser"]
    assert hub["image"] == {"name": "af-kit", "tag": af_kit.__version__}
    (images,) = {
        json.dumps(profile["profile_options"]["image"]["choices"], sort_keys=True) for profile in hub["profileList"]
    }
    chosen = {choice["kubespawner_override"]["image"] for choice in json.loads(images).values()}
    assert chosen == {f"af-kit:{af_kit.__version__}", f"af-kit:{af_kit.__version__}-root"}


def test_role_bindings_use_the_release_namespace():
    subjects = [item["subjects"] for item in rendered() if item["kind"] == "RoleBinding"]
    assert {subject["namespace"] for listed in subjects for subject in listed} == {NAMESPACE}
