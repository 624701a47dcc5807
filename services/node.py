"""Programs that come from npm: ``npm ci --prefix services`` puts them into ``services/node_modules``."""

from __future__ import annotations

from pathlib import Path

from services.common import ServiceError

__all__ = ["installed", "package"]

MODULES = Path(__file__).parent / "node_modules"


def installed(*names: str) -> bool:
    """Whether these packages are there."""
    return all((MODULES / name / "package.json").exists() for name in names)


def package(name: str) -> Path:
    """The folder of a package."""
    if not installed(name):
        raise ServiceError(f"There is no {name} in {MODULES}. In the checkout: npm ci --prefix services")
    return MODULES / name
