from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from af_kit.cluster.kubernetes import names
from af_kit.errors import InputError


@given(st.text(min_size=1, max_size=80))
def test_any_users_name_becomes_a_valid_name(user):
    name = names.escape(user)
    assert len(name) <= 24
    assert names.cluster_name(name, "") == name


@given(st.sets(st.text(alphabet="ab_@.A-", min_size=1, max_size=40), min_size=2, max_size=20))
def test_two_users_never_share_a_name(users):
    assert len({names.escape(user) for user in users}) == len(users)


@pytest.mark.parametrize("user", ["Alice", "a_b", "a@b", "alice@cern.ch", "x" * 100, "7", "-"])
def test_a_new_name_contains_the_user_and_differs_each_time(monkeypatch, user):
    monkeypatch.setenv("JUPYTERHUB_USER", user)
    one, other = (names.cluster_name(None, "dask-{user}-{uuid}") for _ in range(2))
    assert one != other
    assert names.escape(user) in one


@pytest.mark.parametrize("name", ["Big", "a_b", "-a", "a-", "x" * 54, "a.b"])
def test_an_invalid_name_is_refused_with_a_valid_one(name):
    with pytest.raises(InputError, match=r"For example '[a-z0-9-]+'"):
        names.cluster_name(name, "")


def test_a_template_with_an_unknown_field_is_refused():
    with pytest.raises(InputError, match=r"af_kit.cluster.kubernetes.name is 'dask-\{group\}'"):
        names.cluster_name(None, "dask-{group}")
