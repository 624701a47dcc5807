"""The address on which a worker listens."""

from __future__ import annotations

import pytest

from af_kit.errors import ConnectError, InputError
from af_kit.lab.address import choose


def test_the_address_towards_a_host():
    assert choose(towards=["127.0.0.1"]) == "127.0.0.1"


def test_a_name_that_is_unknown_here_is_passed_over():
    assert choose(towards=["no-such-host.invalid", "127.0.0.1"]) == "127.0.0.1"
    with pytest.raises(ConnectError, match=r"no-such-host\.invalid.*af_kit\.lab\.interface"):
        choose(towards=["no-such-host.invalid"])


@pytest.mark.parametrize("interface", ["lo", "127.0.0.1"])
def test_an_interface_or_an_address_of_this_machine(interface):
    assert choose(interface=interface, towards=["no-such-host.invalid"]) == "127.0.0.1"


@pytest.mark.parametrize("interface", ["loo", "203.0.113.7"])
def test_one_that_is_not_here(interface):
    with pytest.raises(InputError, match=interface):
        choose(interface=interface)
