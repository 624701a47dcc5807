"""How long a Dask cluster in Kubernetes takes to come up, and whether it always does.

    .venv/bin/python benchmarks/kubernetes_start.py --image IMAGE --namespace NAMESPACE [--times 50]

From the call of ``connect("kubernetes")`` to a client with a worker that has joined. It needs a cluster with Dask's
operator.
"""

from __future__ import annotations

import argparse
import statistics
import time

import af_kit as af
from af_kit.errors import AfKitError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", help="by default the notebook's own")
    parser.add_argument("--namespace")
    parser.add_argument("--times", type=int, default=50)
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
            ):
                seconds.append(time.perf_counter() - began)
        except AfKitError as error:
            failures.append(f"{number}: {error}")
        print(f"{number + 1:3d} of {given.times}: {seconds[-1] if seconds else 0:5.1f} s", flush=True)
    if seconds:
        least, middle, most = min(seconds), statistics.median(seconds), max(seconds)
        print(f"{len(seconds)} of {given.times} came up: {least:.1f} to {most:.1f} s, median {middle:.1f} s")
    print("\n".join(failures))


if __name__ == "__main__":
    main()
