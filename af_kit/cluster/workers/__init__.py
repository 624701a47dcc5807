"""What runs in a worker process or in its nanny, and the settings that they start with.

In the process that starts workers (the notebook, or the scheduler process):

- ``environment``: the environment variables of workers, above all the allocator's.
- ``resource_limits``: the cores and memory of this session, which a local cluster shares out.
- ``nanny``: the nanny of one local worker; it runs as an object in the notebook.

On the worker's machine:

- ``worker``: ``af-kit worker`` and the command of batch jobs: a nanny, which starts the worker process.
- ``connect_preload``: a module that nannies in Kubernetes load to reach a new scheduler without delay.
"""
