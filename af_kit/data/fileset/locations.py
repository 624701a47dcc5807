"""Resolve a path, URL, glob or logical name to files, each with its replicas in the order to try."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from af_kit.data.transport import xrootd
from af_kit.errors import FilesetError, nearest

__all__ = ["Site", "canonical", "inode", "is_glob", "is_url", "locate", "redacted"]

LOGICAL_PREFIX = "/store/"
"""Start of CMS logical file names: the same at every site, found through a redirector."""

LISTING_TIMEOUT_S = 60
"""Time-out for listing a folder on a server."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_DEFAULT_PORTS = {"root": 1094, "roots": 1094, "xroot": 1094, "xroots": 1094, "http": 80, "https": 443}


@dataclass(frozen=True)
class Site:
    """How this site finds files.

    Attributes
    ----------
    redirectors : tuple of str
        Servers that resolve logical names (``/store/...``), in the order to try, such as
        ``root://xrootd-cms.infn.it/``.
    rewrite : tuple of (str, str)
        ``(match, replace)``: for a path that starts with ``match``, the first replica has ``replace`` instead, for
        example on a cache or a mounted disk. The path itself is the next replica.
    """

    redirectors: tuple[str, ...] = ()
    rewrite: tuple[tuple[str, str], ...] = ()

    @classmethod
    def configured(cls) -> Site:
        """Return the site of the configuration, ``af_kit.data.redirectors`` and ``af_kit.data.rewrite``."""
        from af_kit import config

        redirectors = config.get("data.redirectors")
        for redirector in redirectors:
            if not isinstance(redirector, str) or not _URL.match(redirector):
                raise FilesetError(
                    f"The configuration af_kit.data.redirectors holds {redirector!r}: a redirector is a URL, such as "
                    "root://xrootd-cms.infn.it/."
                )
        rules: list[tuple[str, str]] = []
        for rule in config.get("data.rewrite"):
            match rule:
                case {"match": str(old), "replace": str(new), **rest} if old and new and not rest:
                    rules.append((old, new))
                case _:
                    raise FilesetError(
                        f"The configuration af_kit.data.rewrite holds {rule!r}: a rule is "
                        "{match: PREFIX, replace: PREFIX}."
                    )
        return cls(tuple(redirectors), tuple(rules))

    def replicas(self, path: str) -> tuple[str, ...]:
        """Return the replicas of one file: rewritten paths first, then the path itself or one per redirector.

        Raises `FilesetError` for a logical name for which there is neither a redirector nor a rewrite rule.
        """
        found = [new + path[len(old) :] for old, new in self.rewrite if path.startswith(old)]
        if _is_logical(path):
            found += [_on_server(redirector, path) for redirector in self.redirectors]
        else:
            found.append(path)
        if not found:
            raise FilesetError(
                f"{path!r} is a logical name (there is no such local file), and no redirector is configured. Set "
                'af_kit.data.redirectors, for example to ["root://xrootd-cms.infn.it/"], or use a URL.'
            )
        return tuple(dict.fromkeys(found))


def locate(path: str, *, folder: Path, site: Site) -> list[tuple[str, ...]]:
    """Find the files for a path, URL, logical name or glob, and return the replicas of each in the order to try.

    The path may contain ``~`` and environment variables, and is relative to ``folder``. A glob (``*``, ``?``,
    ``[...]``, ``**``; not for ``https``) returns its files sorted by name, without folders. Without a glob, the file is
    not checked: planning reports it if it is missing.

    Raises `FilesetError` if a glob matches nothing or cannot be listed, if an environment variable is not set, or if no
    redirector is configured for a logical name.
    """
    path = _expanded(path)
    if not is_url(path):
        path = os.path.abspath(folder / path)  # noqa: PTH100 -- keep symbolic links as typed
    if not is_glob(path):
        return [site.replicas(path)]
    if is_url(path):
        found = _list_remote(path)
    else:
        found = _list_local(path)
        if not found and path.startswith(LOGICAL_PREFIX):
            found = _list_logical(path, site)
    if not found:
        raise FilesetError(f"The glob {redacted(path)!r} matches no file.{_closest_folder(path)}")
    return [site.replicas(match) for match in found]


def is_url(path: str) -> bool:
    """Whether the path starts with a protocol, such as ``root://``."""
    return _URL.match(path) is not None


def is_glob(path: str) -> bool:
    """Whether the path is a pattern that can match several files."""
    if not is_url(path):
        return glob.has_magic(path) and not Path(path).exists()  # a file name may contain brackets
    # In a URL, "?" starts the query, and brackets enclose an IPv6 host.
    return any(sign in urlsplit(path).path for sign in "*[")


def canonical(path: str) -> str:
    """Return one spelling for all spellings of the same file (links, double slashes, default ports)."""
    if not is_url(path):
        return os.path.realpath(path)
    parts = urlsplit(path)
    scheme = {"xroot": "root", "xroots": "roots"}.get(parts.scheme, parts.scheme)
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(f":{_DEFAULT_PORTS.get(parts.scheme)}")
    return f"{scheme}://{host}/{re.sub('/+', '/', parts.path).lstrip('/')}?{parts.query}".rstrip("?")


def inode(path: str) -> tuple[int, int] | None:
    """Return what hard links to a local file have in common, or None if the file is not on this machine."""
    if is_url(path):
        return None
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def redacted(path: str) -> str:
    """Return the path without user, password and query, which may contain tokens: safe to display."""
    if not is_url(path):
        return path
    parts = urlsplit(path)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _is_logical(path: str) -> bool:
    return path.startswith(LOGICAL_PREFIX) and not Path(path).exists()


def _on_server(server: str, path: str) -> str:
    return server.rstrip("/") + "//" + path.lstrip("/")


def _expanded(path: str) -> str:
    if path.startswith(("http://", "https://")):
        return path  # where "$" and "~" are ordinary characters
    path = path.removeprefix("file://")
    for match in _VARIABLE.finditer(path):
        name = match[1] or match[2]
        if name not in os.environ:
            raise FilesetError(
                f"{redacted(path)!r}: the environment variable {name} is not set.{nearest(name, os.environ)}"
            )
    return os.path.expanduser(os.path.expandvars(path))  # noqa: PTH111 -- Path would collapse the "//" of a URL


def _list_local(pattern: str) -> list[str]:
    """List the local files that match a glob, sorted."""
    matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 -- pathlib does not accept absolute patterns
    return sorted(match for match in matches if not Path(match).is_dir())


def _list_remote(url: str) -> list[str]:
    """List the files on a server that match a glob, sorted."""
    import fsspec

    scheme = urlsplit(url).scheme
    if scheme in ("http", "https"):
        raise FilesetError(
            f"{redacted(url)!r} is a glob, but {scheme} servers do not list folders: name the files one by one."
        )
    if urlsplit(url).query:
        raise FilesetError(f"{redacted(url)!r} is a glob with a query: name the files one by one.")
    options: dict[str, Any] = {"timeout": LISTING_TIMEOUT_S} if "root" in scheme else {}
    address = xrootd.connection_url(url) if xrootd.is_xrootd(url) else url
    try:
        # A new instance, because a shared one may cache an old listing.
        system, pattern = fsspec.core.url_to_fs(address, skip_instance_cache=True, **options)
        # Without on_error, a forbidden folder or a dead server would look like an empty folder.
        matches = system.glob(pattern, detail=True, on_error="raise")
    except FileNotFoundError:
        return []
    except Exception as error:  # any exception of the protocol's library
        reason = " ".join(str(error).split())
        hint = xrootd.auth_hint(reason) if xrootd.is_xrootd(url) else ""
        raise FilesetError(f"The server of {redacted(url)!r} cannot list it: {reason}{hint}") from error
    found = sorted(system.unstrip_protocol(name) for name, info in matches.items() if info["type"] != "directory")
    return found if address == url else [re.sub(r"//[^/@]*@", "//", name, count=1) for name in found]


def _list_logical(pattern: str, site: Site) -> list[str]:
    """List the logical names that match a glob, from the first rewritten path or redirector that has any."""
    prefixes = [(old, new) for old, new in site.rewrite if pattern.startswith(old)]
    prefixes += [("/", _on_server(redirector, "")) for redirector in site.redirectors]
    if not prefixes:
        site.replicas(pattern)  # raises: no redirector is configured
    errors: list[FilesetError] = []
    for old, new in prefixes:
        physical = new + pattern[len(old) :]
        try:
            found = _list_remote(physical) if is_url(physical) else _list_local(physical)
        except FilesetError as error:
            errors.append(error)
            continue
        if found:
            return [old + _relative(match, new) for match in found]
    if errors:
        raise errors[0]
    return []


def _relative(match: str, start: str) -> str:
    """Return ``match`` without ``start``; a server may spell the same path with another number of slashes."""
    return match.removeprefix(start) if match.startswith(start) else canonical(match).removeprefix(canonical(start))


def _closest_folder(path: str) -> str:
    """Describe the deepest folder of a local glob that exists."""
    if is_url(path):
        return ""
    fixed = Path(path[: min(path.index(sign) for sign in "*?[" if sign in path)].rpartition("/")[0] or "/")
    if fixed.is_dir():
        if not os.access(fixed, os.R_OK | os.X_OK):
            return f" You are not permitted to list the folder {str(fixed)!r}."
        return f" The folder {str(fixed)!r} exists and contains {sum(1 for _ in fixed.iterdir()) or 'no'} other names."
    existing = next(parent for parent in fixed.parents if parent.is_dir())
    return f" There is no folder {str(fixed)!r}; its closest existing parent is {str(existing)!r}."
