"""The classes of dask-jobqueue, without the side effect of its import: it installs its own handler for Ctrl-C.

With that handler, a notebook's stop button would end the kernel. Import the classes from here, in the main thread.
"""

from __future__ import annotations

import signal

from af_kit.errors import MissingExtraError

_handler = signal.getsignal(signal.SIGINT)
try:
    from dask_jobqueue.htcondor import HTCondorCluster, HTCondorJob
    from dask_jobqueue.slurm import SLURMCluster, SLURMJob
except ImportError as error:
    raise MissingExtraError("Batch systems need dask-jobqueue: pip install dask-jobqueue") from error
finally:
    signal.signal(signal.SIGINT, _handler)

__all__ = ["HTCondorCluster", "HTCondorJob", "SLURMCluster", "SLURMJob"]
