"""Clusters of pods, for ``connect("kubernetes")``. The modules, in the order in which a start uses them:

backend         the arguments of ``connect`` and their checks
names           names that Kubernetes accepts
cluster         the cluster object: start with a deadline, scale, close
api             requests to the API server, and their errors
context         whether the session runs in a pod; its namespace, pod and image
permissions     what the user may do, checked before anything is created
manifest        the DaskCluster and its pods
proxy_secret    the user's X.509 proxy, mounted into the workers
network_policy  who can connect to the cluster's pods
readiness       wait until the cluster is up, or until it is clear why it cannot start
status          the pods of a cluster, their problems and their logs
diagnostics     why pods do not start, from their status in Kubernetes
port_forward    the scheduler's ports on this machine, for a session outside the Kubernetes cluster
scaling         the number of workers
removal         delete a cluster, also when its session was killed
listing         the user's clusters: list them, end them, fetch their logs
"""
