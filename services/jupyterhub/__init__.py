"""A JupyterHub behind its proxy; the members of a group log in through the provider of ``services.oidc``."""
