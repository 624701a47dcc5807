"""By hand: ``start``, ``stop``, ``logs``."""

from __future__ import annotations

from services.by_hand import ByHand, command_line
from services.gateway.server import Gateway

HAND = ByHand("gateway", Gateway().folder)


def start(arguments: list[str]) -> None:
    """Start the gateway if it does not run, and say how to reach it."""
    given = HAND.given("start", "Start the gateway, or say where it is.", arguments)
    gateway = Gateway(given.folder).start()
    print(f"The gateway listens at {gateway.address}, for schedulers at {gateway.proxy_address}. For a client:")
    names = {
        "DASK_GATEWAY__ADDRESS": gateway.address,
        "DASK_GATEWAY__PROXY_ADDRESS": gateway.proxy_address,
        "DASK_GATEWAY__AUTH__KWARGS__PASSWORD": f"$(cat {gateway.password_file})",
    }
    for name, value in names.items():
        print(f'export {name}="{value}"')
    print('\nThen in Python: af_kit.connect("gateway", n_workers=2)')


def stop(arguments: list[str]) -> None:
    """Stop the gateway and its clusters."""
    given = HAND.given("stop", "Stop the gateway and its clusters.", arguments)
    Gateway(given.folder).stop()


def logs(arguments: list[str]) -> None:
    """Show the end of the logs: the gateway's, and those of the clusters that run."""
    HAND.show_logs(arguments, lambda folder: [Gateway(folder).log, *Gateway(folder).cluster_logs()])


if __name__ == "__main__":
    command_line({"start": start, "stop": stop, "logs": logs})
