"""Real services on this machine, for tests and for use by hand: see README.md."""
