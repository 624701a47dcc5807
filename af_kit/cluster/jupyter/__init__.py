"""The Dask panel in JupyterLab, and the links to dashboards."""
