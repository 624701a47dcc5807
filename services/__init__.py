"""Real services on this machine, for the tests and to use by hand: see README.md."""
