"""Programs from npm: ``npm ci --prefix services`` installs them into ``services/node_modules``."""

from __future__ import annotations

from pathlib import Path

from services.common import ServiceError

__all__ = ["missing", "package"]

MODULES = Path(__file__).parent / "node_modules"


def missing(*names: str) -> str:
    """Return why these packages cannot be used; empty if they can."""
    absent = [name for name in names if not (MODULES / name / "package.json").exists()]
    return f"no {', '.join(absent)}: npm ci --prefix services" if absent else ""


def package(name: str) -> Path:
    """Return the folder of a package."""
    if reason := missing(name):
        raise ServiceError(f"{MODULES} has {reason}")
    return MODULES / name
