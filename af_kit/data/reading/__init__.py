"""From a chunk of a file to an awkward array of events."""
