"""Jupyter on a batch worker: ``af-kit lab``.

- ``start``: the job, from the submission to its end.
- ``serve``: what the job runs on the worker: JupyterLab, for whoever has the token.
- ``tunnel``: how a browser gets there, by one ssh line.
- ``labs``: the labs of this user, found again by name, with their token and their log.
- ``slurm``, ``htcondor``: one file per batch system.
"""
