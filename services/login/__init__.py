"""A login node: sshd in a network namespace of its own, joined to this machine, which plays its worker."""
