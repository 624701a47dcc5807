"""Workers as HTCondor jobs."""
