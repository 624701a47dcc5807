"""A Dask Gateway on 127.0.0.1: logins with a password, cluster options with bounds, limits per cluster."""
