"""Clusters of a Dask Gateway, for ``connect("gateway")``.

backend   the arguments of ``connect``; start a cluster, find one again, connect to it
client    requests to the gateway, and why they fail
options   from connect()'s arguments to the options that a gateway offers
cluster   the cluster object
"""
