"""Workers as Slurm jobs."""
