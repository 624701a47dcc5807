from __future__ import annotations

from typing import Any

import dask
import pytest
from dask_gateway.options import Field, Float, Integer, Mapping, Options, Select, String

from af_kit import config
from af_kit.cluster.gateway.options import set_options, user_given_name
from af_kit.errors import InputError

IDLE_VARIABLE = "DASK_DISTRIBUTED__SCHEDULER__IDLE_TIMEOUT"


@pytest.fixture(autouse=True)
def site():
    variables = {**dict.fromkeys(config.get("cluster.environment")), "SITE": 1}
    with dask.config.set({"af_kit.cluster.environment": variables, "gateway.cluster.options": {}}):
        yield


def cores() -> Field:
    return Integer("worker_cores", 1, min=1, max=4)


def environment() -> Field:
    return Mapping("environment", {"GATEWAY": "1"})


def chosen(*fields: Field, options: dict[str, Any] | None = None, **common: Any) -> dict[str, Any]:
    """Return the options of a gateway that offers these fields, after `set_options`."""
    offered = Options(*fields)
    set_options(offered, "https://gateway.site", common, options or {})
    return dict(offered)


def test_without_arguments_the_gateways_defaults_stay():
    assert chosen(cores(), Float("worker_memory", 2.0)) == {"worker_cores": 1, "worker_memory": 2.0}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (Float("worker_memory", 2.0), 1.5),
        (Integer("worker_memory", 2), 2),
        (String("worker_memory", "2G"), "1536M"),
    ],
)
def test_memory_has_the_type_and_unit_of_the_gateways_option(field, value):
    assert chosen(field, memory=3 << 29) == {"worker_memory": value}


def test_an_unknown_unit_of_memory_is_refused():
    with dask.config.set({"af_kit.cluster.gateway.memory_unit": "stone"}), pytest.raises(InputError, match="'1 stone'"):
        chosen(Float("worker_memory", 2.0), memory=1 << 30)


def test_the_site_may_have_other_names_for_options():
    with dask.config.set({"af_kit.cluster.gateway.names.cores": "cpus"}):
        assert chosen(Integer("cpus", 1), cores=2) == {"cpus": 2}
        with pytest.raises(InputError, match=r"no option 'cpus'.*af_kit.cluster.gateway.names.cores"):
            chosen(cores(), cores=2)


def test_arguments_replace_the_sites_options_and_further_options_replace_both(monkeypatch):
    monkeypatch.setenv("IMAGE_HERE", "kit:2")
    site = {"worker_cores": 2, "image": "{IMAGE_HERE}"}
    fields = cores(), Select("image", "kit:1", options=["kit:1", "kit:2"])
    with dask.config.set({"gateway.cluster.options": site}):
        assert chosen(*fields) == {"worker_cores": 2, "image": "kit:2"}
        assert chosen(*fields, cores=3) == {"worker_cores": 3, "image": "kit:2"}
        assert chosen(*fields, cores=3, options={"worker_cores": 4})["worker_cores"] == 4
        monkeypatch.delenv("IMAGE_HERE")
        with pytest.raises(InputError, match="'IMAGE_HERE', which is not set here"):
            chosen(*fields)


def test_a_value_that_the_gateway_refuses():
    with pytest.raises(InputError, match=r"cores=9 sets 'worker_cores', which .* refuses: .* must be <= 4"):
        chosen(cores(), cores=9)
    with pytest.raises(InputError, match=r"Choose from: kit:1, kit:2\."):
        chosen(Select("image", "kit:1", options=["kit:1", "kit:2"]), image="kit:3")
    with pytest.raises(InputError, match=r"options= has 'worker_core'.*'worker_cores'"):
        chosen(cores(), options={"worker_core": 1})


def test_variables_of_gateway_site_and_user_are_merged():
    given = {"USER": 2, "SITE": None}
    assert chosen(environment())["environment"] == {"GATEWAY": "1", "SITE": "1"}
    assert chosen(environment(), environment=given)["environment"] == {"GATEWAY": "1", "USER": "2"}
    more = {"environment": {"MORE": 3}}
    assert chosen(environment(), options=more)["environment"] == {"GATEWAY": "1", "SITE": "1", "MORE": "3"}
    assert "environment" not in chosen(cores())
    with pytest.raises(InputError, match="no option 'environment'"):
        chosen(cores(), environment=given)


def test_the_name_of_a_cluster_is_found_in_its_options():
    assert user_given_name(chosen(environment(), name="big")) == "big"
    assert user_given_name(chosen(environment())) is None
    assert user_given_name({}) is None


def test_an_idle_timeout_uses_the_gateways_option_or_else_the_scheduler():
    option = Integer("idle_timeout", 600)
    assert chosen(environment(), option, idle_timeout_s=9.5)["idle_timeout"] == 10
    assert chosen(environment(), idle_timeout_s=9.5)["environment"][IDLE_VARIABLE] == "9.5s"
    with pytest.raises(InputError, match="does not let users choose when an idle cluster ends"):
        chosen(cores(), idle_timeout_s=9.5)


def test_a_default_idle_timeout_gives_way_to_the_users_and_to_the_gateways_own():
    assert chosen(environment(), default_idle_timeout_s=60)["environment"][IDLE_VARIABLE] == "60s"
    both = chosen(environment(), default_idle_timeout_s=60, idle_timeout_s=30)
    assert both["environment"][IDLE_VARIABLE] == "30s"
    assert chosen(cores(), default_idle_timeout_s=60) == {"worker_cores": 1}
