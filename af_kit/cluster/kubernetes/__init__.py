"""What ``connect("kubernetes")`` is made of; ``af_kit/cluster/kubernetes.py`` puts it together.

api        the API server, its answers and its refusals
place      inside or outside the cluster; the namespace, the user's own pod and its image
names      a name for the cluster that Kubernetes takes
manifest   the DaskCluster that is asked for
rights     what the user may do, asked before it is tried
obstacles  why pods do not come up, from what Kubernetes says of them
policy     who may reach the cluster's pods
proxy_secret  the user's X.509 proxy, mounted into the workers
forward    ports of the scheduler, for a session outside the cluster
view       what Kubernetes says of a cluster that is there
coming     waiting until it is up, or until it is clear why not
scaling    the number of its workers
removal    its end, also when its session was killed
kept       a user's clusters, listed and ended
running    the cluster itself: start with a deadline, close
"""
