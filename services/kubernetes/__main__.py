"""By hand: ``start``, ``stop`` and ``logs`` of a cluster with Dask's operator and the kit's image."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from services.common import ServiceError, command_line
from services.kubernetes.cluster import Kubernetes, installed
from services.kubernetes.images import named


def start(arguments: list[str]) -> None:
    """Start the cluster if it does not run, bring the images and the operator into it, and say how to use it."""
    parser = argparse.ArgumentParser(prog="services/kubernetes/start", description=start.__doc__)
    parser.add_argument("--no-images", action="store_true", help="they are in the cluster already")
    given = parser.parse_args(arguments)
    if missing := installed():
        raise ServiceError("; ".join(missing))
    cluster = Kubernetes()
    images = named() if given.no_images else cluster.build_images()
    cluster.install_operator(images.facility)
    print(f"export KUBECONFIG={cluster.kubeconfig} DASK_AF_KIT__CLUSTER__KUBERNETES__IMAGE={images.kit}")


def stop(arguments: list[str]) -> None:
    """End the cluster that ``$AF_KIT_KUBERNETES`` started; in another one, remove the operator."""
    argparse.ArgumentParser(prog="services/kubernetes/stop", description=stop.__doc__).parse_args(arguments)
    if script := os.environ.get("AF_KIT_KUBERNETES"):
        subprocess.run([script, "down"], check=True)
    else:
        Kubernetes().remove_operator()


def logs(arguments: list[str]) -> None:
    """Show the end of the operator's log."""
    parser = argparse.ArgumentParser(prog="services/kubernetes/logs", description=logs.__doc__)
    parser.add_argument("--lines", type=int, default=20)
    given = parser.parse_args(arguments)
    sys.stdout.write(Kubernetes().operator_log(given.lines))


if __name__ == "__main__":
    command_line({"start": start, "stop": stop, "logs": logs})
