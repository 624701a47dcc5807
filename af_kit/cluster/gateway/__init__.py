"""Clusters of a Dask Gateway, for ``connect("gateway")``.

backend   the arguments of ``connect``; start a cluster, connect to a running one
client    requests to the gateway, and why they fail
options   from connect()'s arguments to the options that a gateway offers
cluster   the cluster object
lookup    find the user's clusters again: in the registry, and in the gateway's list
"""
