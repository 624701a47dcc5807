"""The clusters of the peers: Dask with the default settings of `distributed`, and a standalone Spark."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster


@contextmanager
def stock_cluster(workers: int) -> Iterator[Client]:
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def spark_cluster(workers: int) -> Iterator[Any]:
    """Yield a Spark session with executors of one core, one on each worker of services/spark."""
    from services.spark.cluster import Spark  # which the peers on Dask need not load in their cold start

    if workers > 2:
        raise ValueError("services/spark has two workers of one core: --workers 1 or 2")
    folder = Path(tempfile.mkdtemp(prefix="af-kit-bench-spark-"))
    cluster = Spark(folder)
    os.environ.update(cluster.environment())
    try:
        with cluster.start().session({"spark.cores.max": workers}) as session:
            yield session
    finally:
        cluster.stop()
        shutil.rmtree(folder)
