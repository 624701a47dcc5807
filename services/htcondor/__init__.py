"""An HTCondor pool on 127.0.0.1, with a separate file system and process namespace."""
