"""The page of the configuration: each key of af_kit.yaml with its default and its comment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from af_kit import config
from builder.markdown import blocks

FILE = Path(config.__file__).with_name("af_kit.yaml")
_KEY = re.compile(r"^( *)([\w-]+):(?: +(.*))?$")


@dataclass(frozen=True)
class Key:
    """A key of the file.

    Attributes
    ----------
    name : str
        Its full name: ``af_kit.cluster.timeout_s``.
    default : str or None
        Its default as YAML; None for a group of keys.
    comment : list of str
        The comment above it, line by line.
    """

    name: str
    default: str | None
    comment: list[str]


def keys(text: str) -> Iterator[Key]:
    """Yield the keys of a commented YAML file, in its order.

    Raises
    ------
    ValueError
        A line is neither a comment nor a key: a value must be on the line of its key.
    """
    groups: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            comment.append(line.strip().removeprefix("#").removeprefix(" "))
        elif not line.strip():
            comment = []
        elif match := _KEY.match(line):
            indent, name, value = len(match[1]), match[2], match[3]
            groups = [group for group in groups if group[0] < indent] + [(indent, name)]
            yield Key(".".join(name for _, name in groups), value, comment)
            comment = []
        else:
            raise ValueError(f"{FILE.name} has a line that is neither a comment nor a key with its value: {line!r}")


def page() -> str:
    """Return the page, as Markdown."""
    parts = [_HEAD]
    for key in keys(FILE.read_text(encoding="utf-8")):
        if key.name == "af_kit":
            continue
        if key.default is None:
            name = key.name.removeprefix("af_kit.")
            parts.append(f"{'#' * (2 + name.count('.'))} {name}\n\n{blocks(key.comment)}\n")
        else:
            default = key.default.strip('"') or "empty"
            parts.append(f"````{{confval}} {key.name}\n:default: `` {default} ``\n\n{blocks(key.comment)}\n````\n")
    return "\n".join(parts)


_HEAD = """\
# Configuration

These are the keys of `af_kit.yaml`, with their defaults. They belong to
[Dask's own configuration system](https://docs.dask.org/en/stable/configuration.html): a site or a user overrides single
keys without copying the file. Later sources win:

1. the defaults on this page,
2. `/etc/dask/*.yaml`, the site's files,
3. `~/.config/dask/*.yaml`, your own,
4. the environment: `DASK_AF_KIT__CLUSTER__TIMEOUT_S=120`,
5. `dask.config.set({"af_kit.cluster.timeout_s": 120})` in the notebook,
6. an argument of the function.

An unknown key, or a value of the wrong type, is an error; the message names the nearest valid key.
A file has the same shape as the names below, and needs only the keys that differ:

```yaml
af_kit:
  data:
    redirectors: [root://xrootd-cms.infn.it/]
  cluster:
    backend: slurm
    batch: {memory: 3 GiB}
```

A default of `null` leaves the choice to the kit or to the site's service, as the key says.
"""
