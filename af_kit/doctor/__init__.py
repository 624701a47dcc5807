"""`af_kit.doctor`: what is wrong here, and what to do about it. One file per group of checks."""
