"""The folder of a lab: its token, its name, its log."""

from __future__ import annotations

import pytest

from af_kit.errors import InputError
from af_kit.lab import labs
from af_kit.lab.serve import Endpoint


def create(name=None):
    return labs.create("slurm", name=name, settings={"listen": "network", "local_port": None}, login="alice@login")


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


def test_the_last_announcement_in_the_log_counts(capsys):
    lab = create()
    assert lab.endpoint() is None
    first, second = (Endpoint("node17", "10.0.0.5", port) for port in (1, 2))
    first.announce()
    lines = [capsys.readouterr().out]
    lab.log.write_text(lines[0][:-10])  # incomplete
    assert lab.endpoint() is None
    second.announce()
    lab.log.write_text("noise\n".join([*lines, capsys.readouterr().out, "more"]))
    assert lab.endpoint() == second


def test_the_token_is_removed_with_the_lab():
    lab = create()
    lab.remove_token()
    assert lab.token() == ""
