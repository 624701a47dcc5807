"""The folder of a lab: its secret, its names, its announcement."""

from __future__ import annotations

import json

import pytest

from af_kit.errors import InputError
from af_kit.lab import labs
from af_kit.lab.labs import Where
from af_kit.lab.serve import ANNOUNCEMENT


def create(name=None):
    return labs.create("slurm", name=name, settings={"listen": "network", "local_port": None}, login="alice@login")


def told(port: int) -> str:
    return ANNOUNCEMENT + json.dumps({"host": "node17", "address": "10.0.0.5", "port": port, "pid": 1}) + "\n"


def test_each_has_a_secret_of_its_own_that_nobody_else_can_read():
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
    assert [found.name for found in labs.everyone()] == ["mine"]
    with pytest.raises(InputError, match="mine"):
        labs.load("mien")


@pytest.mark.parametrize("name", ["mine", "", "../elsewhere", "a b", "-x"])
def test_a_name_that_cannot_be_used(name):
    create("mine")
    with pytest.raises(InputError):
        create(name)


def test_the_last_announcement_counts():
    assert labs.where("") is None
    assert labs.where(f"noise\n{told(1)}noise\n{told(2)}more") == Where("node17", "10.0.0.5", 2)
    assert labs.where(told(1)[:-10]) is None  # half written


def test_the_token_goes_with_the_lab():
    lab = create()
    lab.forget_token()
    assert lab.token() == ""
