"""Commands: ``start``, ``stop``, ``logs``."""

from __future__ import annotations

from argparse import Namespace

from services.commands import Commands
from services.gateway.server import Gateway


def start(given: Namespace) -> None:
    """Start the gateway if it is not running, and print how to reach it."""
    gateway = given.service.start()
    print(f"The gateway listens at {gateway.address}, for schedulers at {gateway.proxy_address}. For a client:")
    names = {
        "DASK_GATEWAY__ADDRESS": gateway.address,
        "DASK_GATEWAY__PROXY_ADDRESS": gateway.proxy_address,
        "DASK_GATEWAY__AUTH__KWARGS__PASSWORD": f"$(cat {gateway.password_file})",
    }
    for name, value in names.items():
        print(f'export {name}="{value}"')
    print('\nThen in Python: af_kit.connect("gateway", n_workers=2)')


if __name__ == "__main__":
    commands = Commands("gateway", Gateway)
    commands.add(start)
    commands.run()
