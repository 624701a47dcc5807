"""Names of clusters and worker groups that Kubernetes accepts: lower-case letters, digits and dashes."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import uuid

from af_kit.errors import InputError

# A DNS label has at most 63 characters, and "-scheduler" is appended.
MAX_LENGTH = 53
_VALID = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def user() -> str:
    """Return the user's name on the hub, or else on this machine."""
    try:
        return os.environ.get("JUPYTERHUB_USER") or getpass.getuser()
    except (KeyError, OSError):  # some hubs assign a user id that has no name
        return f"uid-{os.getuid()}"


def escape(text: str, max_length: int = 24) -> str:
    """Return a user's name in characters that Kubernetes accepts, different for different users.

    A name that must be changed or cut gets some digits of its checksum: ``a_b`` and ``a@b`` are different users.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if plain == text and len(plain) <= max_length:
        return plain
    checksum = hashlib.sha256(text.encode()).hexdigest()[:5]
    return f"{plain[: max_length - 6].strip('-') or 'user'}-{checksum}"


def cluster_name(given: str | None, template: str) -> str:
    """Return the given name, or a new one from the template.

    Parameters
    ----------
    given : str or None
        The user's choice.
    template : str
        May contain ``{user}`` and ``{uuid}``.

    Raises
    ------
    InputError
        Kubernetes would refuse the name.
    """
    try:
        name = given or template.format(user=escape(user()), uuid=uuid.uuid4().hex[:8])
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(
            f"af_kit.cluster.kubernetes.name is {template!r}: only {{user}} and {{uuid}} are replaced ({error!r})."
        ) from None
    if len(name) > MAX_LENGTH or not _VALID.fullmatch(name):
        raise InputError(
            f"{name!r} is not a valid cluster name in Kubernetes: use at most {MAX_LENGTH} of a-z, 0-9 and dashes, "
            f"without a dash at either end. For example {escape(name, MAX_LENGTH)!r}."
        )
    return name


def check_group(group: str, cluster: str) -> str:
    """Return the name of a worker group of a cluster, if it is valid.

    Raises
    ------
    InputError
        Kubernetes would refuse it, or it is the name of the cluster's default group.
    """
    # Cluster and group together are the value of a label, which has at most 63 characters.
    longest = 62 - len(cluster)
    if not isinstance(group, str) or group == "default" or len(group) > longest or not _VALID.fullmatch(group):
        raise InputError(
            f"groups={{{group!r}: ...}}: the name of a group has at most {longest} of a-z, 0-9 and dashes, no "
            "dash at either end, and is not 'default'. For example 'bigmem'."
        )
    return group
