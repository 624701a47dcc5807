"""dask-jobqueue, without what its import does to the process: it takes Ctrl-C for itself, and that is taken back.

A notebook's stop button would end the kernel otherwise. Import its classes from here, in the main thread.
"""

from __future__ import annotations

import signal

_handler = signal.getsignal(signal.SIGINT)
try:
    from dask_jobqueue.htcondor import HTCondorCluster, HTCondorJob
    from dask_jobqueue.slurm import SLURMCluster, SLURMJob
finally:
    signal.signal(signal.SIGINT, _handler)

__all__ = ["HTCondorCluster", "HTCondorJob", "SLURMCluster", "SLURMJob"]
