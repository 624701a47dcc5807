"""Where a file lies: from a path, a URL, a glob or a logical name to the copies that can be tried, in order."""

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

__all__ = ["Site", "locate", "is_url", "is_glob", "identity", "shown"]

LOGICAL_PREFIX = "/store/"
"""What the logical names of CMS begin with: the same at every site, found through a redirector."""

LISTING_TIMEOUT_S = 60
"""A server that does not list a folder within this time is reported, not waited for."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_DEFAULT_PORTS = {"root": 1094, "roots": 1094, "xroot": 1094, "xroots": 1094, "http": 80, "https": 443}


@dataclass(frozen=True)
class Site:
    """How this site finds files.

    Attributes
    ----------
    redirectors : tuple of str
        Servers that know logical names (``/store/...``), in the order to try, such as ``root://xrootd-cms.infn.it/``.
    rewrite : tuple of (str, str)
        ``(match, replace)``: a path that begins with ``match`` is first tried with ``replace`` in its place, for
        example on a cache or on a mounted disk. The path itself stays as the copy to try afterwards.
    """

    redirectors: tuple[str, ...] = ()
    rewrite: tuple[tuple[str, str], ...] = ()

    @classmethod
    def configured(cls) -> Site:
        """The site described by the configuration, ``af_kit.data.redirectors`` and ``af_kit.data.rewrite``.

        Raises
        ------
        FilesetError
            One of the two has another form than the configuration file's comments say.
        """
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
        """All copies of one file, in the order to try: rewritten ones, then the file itself or each redirector's.

        Raises
        ------
        FilesetError
            A logical name, and the site has neither a redirector nor a rule for it.
        """
        copies = [new + path[len(old) :] for old, new in self.rewrite if path.startswith(old)]
        if _is_logical(path):
            copies += [_below(redirector, path) for redirector in self.redirectors]
        else:
            copies.append(path)
        if not copies:
            raise FilesetError(
                f"{path!r} is a logical name (there is no such local file), and this site names no redirector. Set the "
                'configuration af_kit.data.redirectors, for example to ["root://xrootd-cms.infn.it/"], or give a URL.'
            )
        return tuple(dict.fromkeys(copies))


def locate(path: str, *, folder: Path, site: Site) -> list[tuple[str, ...]]:
    """Find the files that ``path`` stands for.

    Parameters
    ----------
    path : str
        A local path (``~`` and environment variables are filled in), a URL, a logical name, or a glob (``*``, ``?``,
        ``[...]``, ``**``) of any of these except ``https``.
    folder : Path
        What a relative local path starts from.
    site : Site
        Adds the site's copies, and finds logical names.

    Returns
    -------
    list of tuple of str
        One tuple per file: its copies, in the order to try. Files of a glob are sorted by name; folders are left out.
        A path that is not a glob is not looked up: whether it can be read is found out, and reported, when it is.

    Raises
    ------
    FilesetError
        A glob that matches nothing or cannot be listed, an environment variable that is not set, or a logical name
        at a site without redirectors.
    """
    path = _filled_in(path)
    if not is_url(path):
        path = os.path.abspath(folder / path)  # noqa: PTH100 -- a symbolic link stays as it was typed
    if not is_glob(path):
        return [site.replicas(path)]
    if is_url(path):
        found = _list_remote(path)
    else:
        found = _list_local(path)
        if not found and path.startswith(LOGICAL_PREFIX):
            found = _list_logical(path, site)
    if not found:
        raise FilesetError(f"The glob {shown(path)!r} matches no file.{_closest_folder(path)}")
    return [site.replicas(match) for match in found]


def is_url(path: str) -> bool:
    """Whether the path begins with a protocol, such as ``root://``."""
    return _URL.match(path) is not None


def is_glob(path: str) -> bool:
    """Whether the path is a pattern that several files may match."""
    if not is_url(path):
        return glob.has_magic(path) and not Path(path).exists()  # a name may hold a bracket
    # In a URL "?" begins the query, and the host may be an IPv6 address in brackets.
    return any(sign in urlsplit(path).path for sign in "*[")


def identity(path: str) -> str:
    """The same string for two spellings of the same file (links, doubled slashes, a default port)."""
    if not is_url(path):
        return os.path.realpath(path)
    parts = urlsplit(path)
    scheme = {"xroot": "root", "xroots": "roots"}.get(parts.scheme, parts.scheme)
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(f":{_DEFAULT_PORTS.get(parts.scheme)}")
    return f"{scheme}://{host}/{re.sub('/+', '/', parts.path).lstrip('/')}?{parts.query}".rstrip("?")


def shown(path: str) -> str:
    """The path as it may be shown: without the user, the password and the query, where tokens travel."""
    if not is_url(path):
        return path
    parts = urlsplit(path)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _is_logical(path: str) -> bool:
    return path.startswith(LOGICAL_PREFIX) and not Path(path).exists()


def _below(server: str, path: str) -> str:
    return server.rstrip("/") + "//" + path.lstrip("/")


def _filled_in(path: str) -> str:
    if path.startswith(("http://", "https://")):
        return path  # "$" and "~" are ordinary characters there
    path = path.removeprefix("file://")
    for match in _VARIABLE.finditer(path):
        name = match[1] or match[2]
        if name not in os.environ:
            raise FilesetError(
                f"{shown(path)!r} needs the environment variable {name}, which is not set.{nearest(name, os.environ)}"
            )
    return os.path.expanduser(os.path.expandvars(path))  # noqa: PTH111 -- Path would fold the "//" of a URL


def _list_local(pattern: str) -> list[str]:
    """The files that a glob on this machine matches, sorted."""
    matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 -- pathlib takes no absolute pattern
    return sorted(match for match in matches if not Path(match).is_dir())


def _list_remote(url: str) -> list[str]:
    """The files that a glob on a server matches, sorted."""
    import fsspec

    scheme = urlsplit(url).scheme
    if scheme in ("http", "https"):
        raise FilesetError(
            f"{shown(url)!r} is a glob, and {scheme} servers do not list their folders: name the files one by one."
        )
    if urlsplit(url).query:
        raise FilesetError(f"{shown(url)!r} is a glob with a query behind it: name the files one by one.")
    options: dict[str, Any] = {"timeout": LISTING_TIMEOUT_S} if "root" in scheme else {}
    address = xrootd.connection_url(url) if xrootd.is_xrootd(url) else url
    try:
        # A new instance: a shared one may remember an older listing, and new files would be missed.
        system, pattern = fsspec.core.url_to_fs(address, skip_instance_cache=True, **options)
        # Without on_error a folder that may not be read, or a server that is not there, would look like an empty one.
        matches = system.glob(pattern, detail=True, on_error="raise")
    except FileNotFoundError:
        return []
    except Exception as error:  # whatever the protocol's library raises
        said = " ".join(str(error).split())
        why = xrootd.auth_hint(said) if xrootd.is_xrootd(url) else ""
        raise FilesetError(f"The server of {shown(url)!r} cannot list it: {said}{why}") from error
    found = sorted(system.unstrip_protocol(name) for name, info in matches.items() if info["type"] != "directory")
    return found if address == url else [re.sub(r"//[^/@]*@", "//", name, count=1) for name in found]


def _list_logical(pattern: str, site: Site) -> list[str]:
    """The logical names that a glob matches, from the first place that has any."""
    places = [(old, new) for old, new in site.rewrite if pattern.startswith(old)]
    places += [("/", _below(redirector, "")) for redirector in site.redirectors]
    refusals: list[FilesetError] = []
    for old, new in places:
        place = new + pattern[len(old) :]
        try:
            found = _list_remote(place) if is_url(place) else _list_local(place)
        except FilesetError as refusal:
            refusals.append(refusal)
            continue
        if found:
            return [old + _tail(match, new) for match in found]
    if refusals:
        raise refusals[0]
    if not places:
        site.replicas(pattern)  # says that no redirector is configured
    return []


def _tail(match: str, start: str) -> str:
    """What follows ``start`` in ``match``; servers may spell the same place with one slash more or less."""
    return match.removeprefix(start) if match.startswith(start) else identity(match).removeprefix(identity(start))


def _closest_folder(path: str) -> str:
    """For a local glob: the deepest folder of it that exists."""
    if is_url(path):
        return ""
    fixed = Path(path[: min(path.index(sign) for sign in "*?[" if sign in path)].rpartition("/")[0] or "/")
    if fixed.is_dir():
        if not os.access(fixed, os.R_OK | os.X_OK):
            return f" The folder {str(fixed)!r} exists and may not be listed."
        return f" The folder {str(fixed)!r} exists and holds {sum(1 for _ in fixed.iterdir()) or 'no'} other names."
    existing = next(parent for parent in fixed.parents if parent.is_dir())
    return f" There is no folder {str(fixed)!r}; the deepest one there is: {str(existing)!r}."
