"""Filesets: which files belong to which dataset."""
