"""How long a Dask cluster in Kubernetes takes to come up, and whether it always does.

    .venv/bin/python benchmarks/kubernetes_start.py --image IMAGE --namespace NAMESPACE [--times 50] [--at-once]

From the call of ``connect("kubernetes")`` to a client with a worker that has joined. The next one begins when the pods
of the one before are gone: what is measured is a start, not a start beside an end. With ``--at-once`` it is just that,
as when somebody runs a notebook again. It needs a cluster with Dask's operator.
"""

from __future__ import annotations

import argparse
import statistics
import time

import kr8s

import af_kit as af
from af_kit.errors import AfKitError


def wait_for_end(name: str, namespace: str | None, within_s: float = 60) -> None:
    """Wait until a cluster's pods are gone."""
    deadline = time.monotonic() + within_s
    chosen = {"label_selector": {"dask.org/cluster-name": name}} | ({"namespace": namespace} if namespace else {})
    while list(kr8s.get("pods", **chosen)) and time.monotonic() < deadline:
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", help="by default the notebook's own")
    parser.add_argument("--namespace")
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--at-once", action="store_true")
    given = parser.parse_args()
    seconds, failures = [], []
    for number in range(given.times):
        began = time.perf_counter()
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
                seconds.append(time.perf_counter() - began)
                name = client.cluster.name
            if not given.at_once:
                wait_for_end(name, given.namespace)
        except AfKitError as error:
            failures.append(f"{number}: {error}")
        print(f"{number + 1:3d} of {given.times}: {seconds[-1] if seconds else 0:5.1f} s", flush=True)
    if seconds:
        least, middle, most = min(seconds), statistics.median(seconds), max(seconds)
        print(f"{len(seconds)} of {given.times} came up: {least:.1f} to {most:.1f} s, median {middle:.1f} s")
    print("\n".join(failures))


if __name__ == "__main__":
    main()
