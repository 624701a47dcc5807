"""A Docker daemon on this machine that builds and runs the kit's image without a registry."""
