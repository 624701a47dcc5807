"""A standalone Spark cluster on 127.0.0.1: a master and workers."""
