"""Commands: ``start``, ``stop``, ``logs``, and ``build``, which runs the line of docs/install.md."""

from __future__ import annotations

from argparse import Namespace

from services.commands import Commands
from services.image.daemon import Docker
from services.image.pages import command


def start(given: Namespace) -> None:
    """Start the daemon if it is not running, with the base image, and print how to use it."""
    docker: Docker = given.service.start()
    print("# After this, the docker commands of docs/install.md work in the checkout:")
    print(f"export PATH={docker.docker.parent}:$PATH DOCKER_HOST={docker.environment()['DOCKER_HOST']}")


def build(given: Namespace) -> None:
    """Start the daemon if it is not running, and build the image with the line of docs/install.md."""
    page, line = ("docs/install.md", "docker build")
    if given.with_root:
        page, line = ("docs/image.md", "docker build --build-arg WITH_ROOT=")
    given.service.start().shell(command(page, line))


def stop(given: Namespace) -> None:
    """Stop the daemon and its containers; images stay."""
    given.service.remove() if given.remove else given.service.stop()


if __name__ == "__main__":
    commands = Commands("image", Docker)
    commands.add(start)
    commands.add(stop).add_argument("--remove", action="store_true", help="also remove the folder with all images")
    commands.add(build).add_argument("--with-root", action="store_true", help="build af-kit:root, the image with ROOT")
    commands.run()
