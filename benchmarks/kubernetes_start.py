"""Measure how long a Dask cluster in Kubernetes takes to start, and whether it always starts.

    .venv/bin/python benchmarks/kubernetes_start.py --image IMAGE --namespace NAMESPACE [--times 50] [--at-once]

The time is from the call of ``connect("kubernetes")`` until the first worker has joined. Each cluster starts after the
pods of the one before have ended; with ``--at-once`` it does not wait for them, as when somebody runs a notebook again.
It needs a Kubernetes cluster with Dask's operator.
"""

from __future__ import annotations

import argparse
import statistics
import time

import kr8s

import af_kit as af
from af_kit.errors import AfKitError


def wait_for_end(name: str, namespace: str | None, within_s: float = 60) -> None:
    """Wait until a cluster's pods have ended."""
    deadline = time.monotonic() + within_s
    selected = {"label_selector": {"dask.org/cluster-name": name}} | ({"namespace": namespace} if namespace else {})
    while list(kr8s.get("pods", **selected)) and time.monotonic() < deadline:
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", help="default: the notebook's image")
    parser.add_argument("--namespace")
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--at-once", action="store_true")
    given = parser.parse_args()
    seconds, failures = [], []
    for number in range(given.times):
        start = time.perf_counter()
        try:
            with af.connect(
                "kubernetes",
                n_workers=1,
                memory="512 MiB",
                cpu_request=0.1,
                image=given.image,
                namespace=given.namespace,
                quiet=True,
            ) as client:
                seconds.append(time.perf_counter() - start)
                name = client.cluster.name
            if not given.at_once:
                wait_for_end(name, given.namespace)
        except AfKitError as error:
            failures.append(f"{number}: {error}")
        print(f"{number + 1:3d} of {given.times}: {seconds[-1] if seconds else 0:5.1f} s", flush=True)
    if seconds:
        median = statistics.median(seconds)
        print(
            f"{len(seconds)} of {given.times} started: {min(seconds):.1f} to {max(seconds):.1f} s, median {median:.1f}"
        )
    print("\n".join(failures))


if __name__ == "__main__":
    main()
