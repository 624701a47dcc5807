"""The session's side of credentials on Spark: send one with the tasks, renew it when its source changes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, SupportsIndex

from af_kit.credentials.credential import Credential, CredentialInfo, check_lifetime, format_duration
from af_kit.credentials.secret import SecretBytes, read_secret, secret_path
from af_kit.errors import InputError
from af_kit.plugins.credential_watcher import CredentialWatcher
from af_kit.plugins.spark import ask_executors, executor_folder, sent_to, spark_context

__all__ = ["SparkCredential", "send_credential_to_spark"]

# The current one of each session and plugin: sending again stops the watcher of the one before.
_current: weakref.WeakKeyDictionary[Any, dict[str, SparkCredential]] = weakref.WeakKeyDictionary()


class SparkCredential:
    """A credential that every task of the kit brings to the executors of a Spark session.

    Attributes
    ----------
    info : ProxyInfo or TokenInfo
        Owner (``.who``), expiry (``.until``, ``.seconds_left``), source (``.source``).
    """

    info: CredentialInfo

    def __init__(self, session: Any, plugin: Any, read: Callable[[], Credential], min_lifetime_s: float) -> None:
        self._session, self._sent = session, sent_to(session)
        self._plugin, self._read, self._min_lifetime_s = plugin, read, min_lifetime_s
        self._watcher: CredentialWatcher | None = None
        self._digest = ""

    @property
    def watching(self) -> bool:
        """Whether changes of the source are noticed and sent."""
        return self._watcher is not None and self._watcher.alive

    @property
    def workers(self) -> Mapping[str, str]:
        """The executors that have the credential now, and the path of its file on each."""
        answers = ask_executors(self._session, _state, self._plugin.filename)
        return {name: path for name, (path, digest) in answers.items() if digest is not None}

    def refresh(self) -> SparkCredential:
        """Read the source again and send its current content with the next tasks.

        Raises
        ------
        InputError
            The current content cannot be sent. The executors keep what they have.
        """
        self._send(self._read())
        return self

    def check(self) -> Mapping[str, str]:
        """Deliver the credential to the executors now, and return for each ``"ok"`` or the problem.

        Spark decides where tasks run: an executor that is busy may be missing from the answer.
        """
        answers = ask_executors(self._session, _state, self._plugin.filename)
        return {name: self._verdict(digest) for name, (_, digest) in answers.items()}

    def stop(self) -> None:
        """Stop watching the source. The executors keep the credential."""
        if self._watcher is not None:
            self._watcher.stop()

    def remove(self) -> None:
        """Remove the credential, and stop watching. An executor removes its file with its next task."""
        self.stop()
        if self._sent.status == "running":
            self._sent.remove_credential(self._plugin.name)
            ask_executors(self._session, _state, self._plugin.filename)

    def _send(self, credential: Credential) -> None:
        check_lifetime(credential.info, self._min_lifetime_s)
        self._sent.put_credential(self._plugin, credential)
        self.info, self._digest = credential.info, credential.secret.digest()

    def _send_if_changed(self) -> None:
        credential = self._read()
        if credential.secret.digest() != self._digest:
            self._send(credential)

    def _verdict(self, digest: str | None) -> str:
        if digest is None:
            return "it was removed"
        return "ok" if digest == self._digest else "a newer one, sent by another call"

    def __repr__(self) -> str:
        left = self.info.seconds_left
        time_left = "EXPIRED" if left <= 0 else f"{format_duration(left)} left" if self.info.until else ""
        watched = f"renewed from {self.info.source}" if self.watching else "not watched"
        parts = [str(self.info), time_left, "on every executor", watched]
        return "<" + ", ".join(part for part in parts if part) + ">"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            "The return value of send_proxy or send_token belongs to this session and is not pickled: a function that "
            "runs on executors must not refer to it. There, X509_USER_PROXY or BEARER_TOKEN_FILE names the file."
        )


def send_credential_to_spark(
    session: Any,
    plugin: Any,
    read: Callable[[], Credential],
    *,
    min_lifetime_s: float,
    watch: bool,
    before_sending: Callable[[Credential], None],
) -> SparkCredential:
    """Do for a Spark session what `af_kit.plugins.credential_handle.send_credential` does for a Dask client."""
    credential = read()
    check_lifetime(credential.info, min_lifetime_s)
    before_sending(credential)
    handle = SparkCredential(session, plugin, read, min_lifetime_s)
    handles = _current.setdefault(spark_context(session), {})
    if plugin.name in handles:
        handles[plugin.name].stop()
    handles[plugin.name] = handle
    handle._send(credential)
    if watch:
        handle._watcher = CredentialWatcher(sent_to(session), handle._send_if_changed, lambda: handle.info)
    return handle


def _state(filename: str) -> tuple[str, str | None]:
    """Return the path of a credential's file on this executor, and the digest of its content; None if it is absent."""
    path = secret_path(executor_folder(), filename)
    try:
        secret: SecretBytes = read_secret(path)[0]
    except (OSError, InputError):
        return str(path), None
    return str(path), secret.digest()
