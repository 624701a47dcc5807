"""Clusters whose scheduler runs in a separate process, and may outlive the session that started it.

In the notebook:

- ``launch``: starts the scheduler process and waits until its scheduler answers.
- ``handle``: ``client.cluster`` of such a cluster: scales it, asks for its jobs, ends it.
- ``logs``: finds the logs of a cluster, also after its end.

In the scheduler process:

- ``scheduler_process``: runs the scheduler, requests workers and answers the handle.

In both:

- ``spec``: what the notebook tells the scheduler process, as a file.
- ``registry``: the folders of all clusters of this user, by which they are found by name or address.
- ``certificates``: the TLS certificates of a cluster, as files.
- ``guard``: a shell process that cleans up after a process that was killed.
"""
