"""X.509 proxies, bearer tokens and CA certificates: where they are, what they say, whether they are valid. No Dask."""
