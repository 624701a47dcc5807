"""The images of a facility, built with `services.image` and loaded into a cluster without a registry."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import af_kit
from services.image.daemon import Docker
from services.image.pages import command
from services.npm import package

__all__ = ["Images", "build", "named"]

FACILITY = Path(__file__).with_name("facility")


@dataclass(frozen=True)
class Images:
    """The names of the images in the cluster.

    Attributes
    ----------
    kit : str
        The users' image, with its name in the chart's values.
    facility : str
        The kit's image with Dask's operator, JupyterHub and its proxy.
    """

    kit: str
    facility: str


def named() -> Images:
    """Return the names of `build`, unless ``AF_KIT_IMAGE`` and ``AF_KIT_FACILITY_IMAGE`` are set."""
    version = af_kit.__version__
    return Images(
        os.environ.get("AF_KIT_IMAGE") or f"af-kit:{version}",
        os.environ.get("AF_KIT_FACILITY_IMAGE") or f"af-kit-facility:{version}",
    )


def build(load: Callable[[str, dict[str, str]], None]) -> Images:
    """Build both images, and call ``load`` for each: with its name, and the environment in which ``docker`` has it."""
    images = named()
    docker = Docker()
    was_running = docker.is_running()
    docker.start()
    try:
        docker.shell(command("docs/install.md", "docker build"))
        docker.run("tag", "af-kit", images.kit)
        with tempfile.TemporaryDirectory() as folder:
            context = Path(shutil.copytree(FACILITY, Path(folder) / "facility"))
            # The proxy and its dependencies: Docker only copies from the folder of the build.
            shutil.copytree(package("configurable-http-proxy").parent, context / "node_modules", symlinks=True)
            docker.run("build", "--build-arg", f"IMAGE={images.kit}", "-t", images.facility, str(context))
        for image in (images.kit, images.facility):
            load(image, docker.environment())
    finally:
        if not was_running:
            docker.stop()
    return images
