"""Local and remote files: byte ranges, XRootD, uploaded copies, and folders to write to."""
