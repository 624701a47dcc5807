"""Jupyter in a batch job: ``af-kit lab``.

On the login node:

- ``start``: submits the job of a lab, waits for it, ends it.
- ``queue``: what a lab needs of a batch system; ``slurm`` and ``htcondor`` implement it.
- ``labs``: the labs of this user, with their token and log, found by name.
- ``tunnel``: the ssh command and the URL by which a browser reaches a lab.

In the job, on the worker:

- ``serve``: runs JupyterLab on the address that the login node reaches, for whoever has the token.
"""
