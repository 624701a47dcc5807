"""Bytes of files, local and remote: XRootD, HTTPS, copies on workers, and stores to write to."""
