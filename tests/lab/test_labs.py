"""The folder of a lab: its token, its name, its log."""

from __future__ import annotations

import json

import pytest

from af_kit.errors import InputError
from af_kit.lab import labs
from af_kit.lab.labs import Endpoint
from af_kit.lab.serve import ANNOUNCEMENT


def create(name=None):
    return labs.create("slurm", name=name, settings={"listen": "network", "local_port": None}, login="alice@login")


def announcement(port: int) -> str:
    return ANNOUNCEMENT + json.dumps({"host": "node17", "address": "10.0.0.5", "port": port, "pid": 1}) + "\n"


def test_each_lab_has_its_own_token_that_nobody_else_can_read():
    one, two = create(), create()
    assert (one.name, two.name) == ("lab-1", "lab-2")
    assert one.token() != two.token()
    assert len(one.token()) >= 43
    assert {path.stat().st_mode & 0o777 for path in one.folder.iterdir()} == {0o600}
    assert one.folder.stat().st_mode & 0o777 == 0o700
    assert one.token() not in repr(one)


def test_it_is_found_again():
    lab = create("mine").submitted("42")
    assert labs.load("mine") == lab
    assert [found.name for found in labs.load_all()] == ["mine"]
    with pytest.raises(InputError, match="mine"):
        labs.load("mien")


@pytest.mark.parametrize("name", ["mine", "", "../elsewhere", "a b", "-x"])
def test_invalid_names(name):
    create("mine")
    with pytest.raises(InputError):
        create(name)


def test_the_last_announcement_counts():
    assert labs.endpoint("") is None
    assert labs.endpoint(f"noise\n{announcement(1)}noise\n{announcement(2)}more") == Endpoint("node17", "10.0.0.5", 2)
    assert labs.endpoint(announcement(1)[:-10]) is None  # incomplete


def test_the_token_is_removed_with_the_lab():
    lab = create()
    lab.remove_token()
    assert lab.token() == ""
