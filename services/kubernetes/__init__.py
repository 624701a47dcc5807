"""A Kubernetes cluster with Dask's operator and the kit's image."""
