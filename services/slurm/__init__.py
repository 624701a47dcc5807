"""A Slurm cluster of one node on 127.0.0.1: munge, slurmctld, slurmd."""
