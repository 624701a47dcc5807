"""By hand: ``start``, ``stop``, ``logs``, and ``build``, with the README's own line."""

from __future__ import annotations

from services.by_hand import ByHand, command_line
from services.image.daemon import Docker
from services.image.pages import command

HAND = ByHand("image", Docker().folder)


def start(arguments: list[str]) -> None:
    """Start the daemon if it does not run, and say how to use it."""
    given = HAND.given("start", "Start the daemon with the base image, or say where it is.", arguments)
    docker = Docker(given.folder).start()
    environment = docker.environment()
    print("# The README's docker lines work after this, in the checkout:")
    print(f"export PATH={docker.docker.parent}:$PATH DOCKER_HOST={environment['DOCKER_HOST']}")


def build(arguments: list[str]) -> None:
    """Build the image ``af-kit``."""
    parser = HAND.parser("build", "Start the daemon if need be, and build the image with the README's own line.")
    parser.add_argument("--with-root", action="store_true", help="with ROOT: the image af-kit:root")
    given = parser.parse_args(arguments)
    page, what = (
        ("docs/image.md", "docker build --build-arg WITH_ROOT=") if given.with_root else ("README.md", "docker build")
    )
    Docker(given.folder).start().shell(command(page, what))


def stop(arguments: list[str]) -> None:
    """Stop the daemon and its containers."""
    remove = {"action": "store_true", "help": "remove the images and the folder, too"}
    given = HAND.given("stop", "Stop the daemon and its containers; images stay.", arguments, remove=remove)
    docker = Docker(given.folder)
    docker.remove() if given.remove else docker.stop()


def logs(arguments: list[str]) -> None:
    """Show the end of the daemon's log."""
    HAND.show_logs(arguments, lambda folder: [Docker(folder).log])


if __name__ == "__main__":
    command_line({"start": start, "stop": stop, "logs": logs, "build": build})
