"""A pool of HTCondor on 127.0.0.1, in a file system and a process namespace of its own."""
