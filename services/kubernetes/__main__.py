"""Commands: ``start``, ``stop`` and ``logs`` of a cluster with Dask's operator and the kit's image."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import Namespace

from services.commands import Commands
from services.common import ServiceError
from services.kubernetes.cluster import Kubernetes, installed
from services.kubernetes.images import named


def start(given: Namespace) -> None:
    """Start the cluster if it is not running, load the images, install the operator, and print how to use it."""
    if missing := installed():
        raise ServiceError("; ".join(missing))
    cluster = Kubernetes()
    images = named() if given.no_images else cluster.build_images()
    cluster.install_operator(images.facility)
    print(f"export KUBECONFIG={cluster.kubeconfig} DASK_AF_KIT__CLUSTER__KUBERNETES__IMAGE={images.kit}")


def stop(_: Namespace) -> None:
    """Stop the cluster that $AF_KIT_KUBERNETES has started; remove the operator from another cluster."""
    if script := os.environ.get("AF_KIT_KUBERNETES"):
        subprocess.run([script, "down"], check=True)
    else:
        Kubernetes().remove_operator()


def logs(given: Namespace) -> None:
    """Print the end of the operator's log."""
    sys.stdout.write(Kubernetes().operator_log(given.lines))


if __name__ == "__main__":
    commands = Commands("kubernetes")
    commands.add(start).add_argument("--no-images", action="store_true", help="the images are in the cluster already")
    commands.add(stop)
    commands.add(logs).add_argument("--lines", type=int, default=20)
    commands.run()
