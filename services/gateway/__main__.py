"""By hand: ``start``, ``stop``, ``logs``."""

from __future__ import annotations

import argparse
from pathlib import Path

from services.common import command_line, show_logs
from services.gateway.server import Gateway


def _arguments(verb: str, about: str, arguments: list[str], *more: tuple[tuple[str, ...], dict]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"services/gateway/{verb}", description=about)
    parser.add_argument("--folder", type=Path, default=Gateway().folder, help="default: %(default)s")
    for names, options in more:
        parser.add_argument(*names, **options)
    return parser.parse_args(arguments)


def start(arguments: list[str]) -> None:
    """Start the gateway if it does not run, and say how to reach it."""
    given = _arguments("start", "Start the gateway, or say where it is.", arguments)
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
    given = _arguments("stop", "Stop the gateway and its clusters.", arguments)
    Gateway(given.folder).stop()


def logs(arguments: list[str]) -> None:
    """Show the end of the logs: the gateway's, and those of the clusters that run."""
    more = (("--lines",), {"type": int, "default": 20}), (("--follow",), {"action": "store_true"})
    given = _arguments("logs", "Show the end of the logs.", arguments, *more)
    gateway = Gateway(given.folder)
    show_logs([gateway.log, *gateway.cluster_logs()], lines=given.lines, follow=given.follow)


if __name__ == "__main__":
    command_line({"start": start, "stop": stop, "logs": logs})
