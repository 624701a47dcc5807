"""A login node: sshd in a separate network namespace, connected to this machine, which is the node's worker."""
