"""A Docker daemon on this machine, without a registry: the kit's image is built and run by it."""
