"""Workers as jobs of a batch system: Slurm or HTCondor. The scheduler runs in a separate process (`..detached`).

In the notebook:

- ``slurm.backend``, ``htcondor.backend``: the backends of `connect` and their options.

In the scheduler process:

- ``base``: a cluster of jobs: it scales, replaces jobs that end, and explains why workers do not join.
- ``job``: one job, from its submission to its end, and the history of all jobs of a cluster.
- ``options``: the arguments that dask-jobqueue gets from the configuration and the user.
- ``slurm.cluster``, ``htcondor.cluster``: `base` and `job` for each batch system.
- ``jobqueue``: dask-jobqueue, imported without its side effect.

In both, and in ``af-kit lab``:

- ``command``: runs a command of the batch system.
- ``status``: the state of a job, and the messages about jobs.
- ``slurm.queue``, ``htcondor.queue``: what the batch system's output means, and what to do about it.
- ``htcondor.submit``: HTCondor's submit description.
"""
