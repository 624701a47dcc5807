"""Filesets: which files belong to which dataset, from YAML, JSON, dictionaries, paths and globs."""
