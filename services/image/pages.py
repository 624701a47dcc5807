"""The commands of the docs, so that what is tested is what a reader types."""

from __future__ import annotations

import re
from pathlib import Path

from services.common import ServiceError

__all__ = ["command"]

ROOT = Path(__file__).parents[2]


def command(page: str, begin: str) -> str:
    """The one line of a page's code blocks that begins so, without the comment after it."""
    found = re.findall(rf"^{re.escape(begin)}.*$", (ROOT / page).read_text(), re.MULTILINE)
    if len(found) != 1:
        raise ServiceError(f"{page} has {len(found)} lines that begin with {begin!r}, not one.")
    return re.sub(r"\s+#.*", "", found[0])
