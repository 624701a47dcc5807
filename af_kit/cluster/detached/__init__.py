"""Clusters whose scheduler runs in a process of its own, and may outlive the session that started it."""
