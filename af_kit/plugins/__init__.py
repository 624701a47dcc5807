"""Plugins that deliver credentials, files, models and packages to every worker, including those that join later.

``import dask`` itself loads ``sizeof``, through the entry point ``dask.sizeof``: keep this file, and the package's own
``__init__``, free of imports that are slow or that need a fully imported ``dask``.
"""
