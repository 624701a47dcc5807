"""A JupyterHub behind its proxy, to which the members of a group log in by the provider of ``services.oidc``."""
