"""`send_token`: deliver the user's bearer token to every worker, including later ones, and renew it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from af_kit.credentials.credential import Credential
from af_kit.credentials.tokens import find_token, read_token
from af_kit.plugins.credential_handle import CredentialHandle, check_client, send_credential
from af_kit.plugins.credential_plugin import CredentialPlugin
from af_kit.plugins.spark_credentials import SparkCredential

__all__ = ["TokenPlugin", "send_token"]


class TokenPlugin(CredentialPlugin):
    """Worker plugin of `send_token`: the token in a file of mode 0600, named by ``BEARER_TOKEN_FILE``."""

    name = "af-secret-token"
    filename = "bearer_token"

    def settings(self, path: Path, options: Mapping[str, Any]) -> tuple[dict[str, str | None], dict[str, Any]]:
        """Return the file's variable, and unset ``BEARER_TOKEN``, which would win and could not be renewed."""
        return {"BEARER_TOKEN_FILE": str(path), "BEARER_TOKEN": None}, {}


def send_token(
    client: Any, path: str | Path | None = None, *, min_lifetime_s: float = 60, watch: bool = True
) -> CredentialHandle | SparkCredential:
    """Send the user's bearer token to all workers, including those that join later, and keep it renewed.

    Parameters
    ----------
    client : distributed.Client or pyspark.sql.SparkSession
        The return value of `connect`, or a Spark session, whose executors get it with each task of the kit.
    path : path, optional
        The token's file. By default the token is found by WLCG token discovery: ``BEARER_TOKEN``,
        ``BEARER_TOKEN_FILE``, ``$XDG_RUNTIME_DIR/bt_u<uid>``, ``/tmp/bt_u<uid>``.
    min_lifetime_s : float
        Refuse a token with less lifetime than this, in seconds. Tokens live for an hour or less.
    watch : bool
        Send the token again whenever it changes, and warn before it expires, for as long as the client lives.

    Returns
    -------
    CredentialHandle or SparkCredential
        ``.info`` (owner, scope, expiry), ``.refresh()``, ``.check()``, ``.stop()``, ``.remove()``.

    Raises
    ------
    InputError
        There is no usable token, or it has expired or expires too soon.
    AfKitError
        A worker could not write it.

    Notes
    -----
    On each worker, ``BEARER_TOKEN_FILE`` names a file of mode 0600 in the worker's folder, whose path never changes.
    """
    check_client(client, "send_token")
    source = find_token() if path is None else Path(path).expanduser().absolute()

    def read() -> Credential:
        secret, info = read_token(source)
        return Credential(secret, info, {})

    return send_credential(client, TokenPlugin(), read, min_lifetime_s=min_lifetime_s, watch=watch)
