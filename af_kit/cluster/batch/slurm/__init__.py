"""Workers as jobs of a Slurm cluster."""
