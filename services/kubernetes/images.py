"""The images of a facility, built by `services.image` and brought into a cluster that has no registry."""

from __future__ import annotations

import os
import shutil
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.image.daemon import Docker
from services.image.pages import command
from services.node import package

__all__ = ["Images", "build", "named"]

ROOT = Path(__file__).parents[2]
FACILITY = Path(__file__).with_name("facility")


@dataclass(frozen=True)
class Images:
    """Their names in the cluster.

    Attributes
    ----------
    kit : str
        The users', by the name that the chart's values have for it.
    facility : str
        Dask's operator, JupyterHub and its proxy; with all that the kit's image holds.
    """

    kit: str
    facility: str


def named() -> Images:
    """As `build` names them, unless ``AF_KIT_IMAGE`` and ``AF_KIT_FACILITY_IMAGE`` do."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return Images(
        os.environ.get("AF_KIT_IMAGE") or f"af-kit:{version}",
        os.environ.get("AF_KIT_FACILITY_IMAGE") or f"af-kit-facility:{version}",
    )


def build(load: Callable[[str, dict[str, str]], None]) -> Images:
    """Build both, and hand each to ``load``: its name, and the environment in which ``docker`` has it."""
    images = named()
    docker = Docker()
    ran = docker.is_running()
    docker.start()
    try:
        docker.shell(command("README.md", "docker build"))
        docker.run("tag", "af-kit", images.kit)
        with tempfile.TemporaryDirectory() as folder:
            context = Path(shutil.copytree(FACILITY, Path(folder) / "facility"))
            # The proxy and what it needs; Docker takes nothing from outside of the folder that it is given.
            shutil.copytree(package("configurable-http-proxy").parent, context / "node_modules", symlinks=True)
            docker.run("build", "--build-arg", f"IMAGE={images.kit}", "-t", images.facility, str(context))
        for image in (images.kit, images.facility):
            load(image, docker.environment())
    finally:
        if not ran:
            docker.stop()
    return images
