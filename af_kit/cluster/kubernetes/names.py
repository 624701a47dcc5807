"""A name for the cluster: Kubernetes takes lower-case letters, digits and dashes, and not many of them."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import uuid

from af_kit.errors import InputError

# A DNS label has 63 characters; "-scheduler" is appended.
LONGEST = 53
_LEGAL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def user() -> str:
    """Who asks, as the hub or the machine calls them."""
    try:
        return os.environ.get("JUPYTERHUB_USER") or getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as hubs give them
        return f"uid-{os.getuid()}"


def escaped(text: str, longest: int = 24) -> str:
    """A user's name in the letters that Kubernetes takes; two users never share one.

    What had to be changed or cut gets a few digits of the name's checksum: ``a_b`` and ``a@b`` are two people.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if plain == text and len(plain) <= longest:
        return plain
    mark = hashlib.sha256(text.encode()).hexdigest()[:5]
    return f"{plain[: longest - 6].strip('-') or 'user'}-{mark}"


def cluster_name(given: str | None, template: str) -> str:
    """The name that the user gave, or a new one from the configured template.

    Parameters
    ----------
    given : str or None
        A name of the user's own.
    template : str
        With ``{user}`` and ``{uuid}``.

    Raises
    ------
    InputError
        Kubernetes would not take it.
    """
    try:
        name = given or template.format(user=escaped(user()), uuid=uuid.uuid4().hex[:8])
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(
            f"af_kit.cluster.kubernetes.name is {template!r}: {{user}} and {{uuid}} are known ({error!r})."
        ) from None
    if len(name) > LONGEST or not _LEGAL.fullmatch(name):
        raise InputError(
            f"{name!r} is no name for a cluster in Kubernetes: at most {LONGEST} of a-z, 0-9 and dashes, none of them "
            f"at either end. For example {escaped(name, LONGEST)!r}."
        )
    return name


def check_group(group: str, cluster: str) -> str:
    """A name for a group of workers of a cluster.

    Raises
    ------
    InputError
        Kubernetes would not take it, or the cluster's own workers have it.
    """
    # Both together are the value of a label, which has 63 characters.
    longest = 62 - len(cluster)
    if not isinstance(group, str) or group == "default" or len(group) > longest or not _LEGAL.fullmatch(group):
        raise InputError(
            f"groups={{{group!r}: ...}}: the name of a group has at most {longest} of a-z, 0-9 and dashes, no "
            "dash at either end, and is not 'default'. For example 'bigmem'."
        )
    return group
