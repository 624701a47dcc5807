"""What workers are given beyond their tasks.

``sizeof`` is loaded by ``import dask`` itself, through the entry point ``dask.sizeof``: keep this file, and the
package's own ``__init__``, free of imports that are slow or that need a finished ``dask``.
"""
