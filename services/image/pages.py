"""Commands from the docs, so that tests run what a reader types."""

from __future__ import annotations

import re

from services.common import ROOT, ServiceError

__all__ = ["command"]


def command(page: str, start: str) -> str:
    """Return the only line of a page that starts with ``start``, without its comment."""
    found = re.findall(rf"^{re.escape(start)}.*$", (ROOT / page).read_text(), re.MULTILINE)
    if len(found) != 1:
        raise ServiceError(f"{page} has {len(found)} lines that start with {start!r}, instead of one.")
    return re.sub(r"\s+#.*", "", found[0])
