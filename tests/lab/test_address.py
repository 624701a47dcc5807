"""The address on which a worker listens."""

from __future__ import annotations

import pytest

from af_kit.errors import ConnectError, InputError
from af_kit.lab.address import choose


def test_the_address_that_reaches_a_host():
    assert choose(login_hosts=["127.0.0.1"]) == "127.0.0.1"


def test_an_unknown_name_is_skipped():
    assert choose(login_hosts=["no-such-host.invalid", "127.0.0.1"]) == "127.0.0.1"
    with pytest.raises(ConnectError, match=r"no-such-host\.invalid.*af_kit\.lab\.interface"):
        choose(login_hosts=["no-such-host.invalid"])


@pytest.mark.parametrize("interface", ["lo", "127.0.0.1"])
def test_an_interface_or_an_address_of_this_machine(interface):
    assert choose(interface=interface, login_hosts=["no-such-host.invalid"]) == "127.0.0.1"


@pytest.mark.parametrize("interface", ["loo", "203.0.113.7"])
def test_an_interface_that_this_machine_does_not_have(interface):
    with pytest.raises(InputError, match=interface):
        choose(interface=interface)
