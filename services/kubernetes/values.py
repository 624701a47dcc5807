"""The values of the chart in helm/, as Helm lays one file of them over another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

__all__ = ["CHART", "DEPENDENCIES", "have_dependencies", "merged", "read"]

CHART = Path(__file__).parents[2] / "helm"
DEPENDENCIES = ("jupyterhub", "dask-kubernetes-operator")
"""The charts that ours depends on."""


def have_dependencies() -> bool:
    """Whether they are there, as after ``helm dependency update helm``."""
    return all(any((CHART / "charts").glob(f"{name}*")) for name in DEPENDENCIES)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``: mappings key by key, all else replaced."""
    both = {
        key: merged(base[key], over[key])
        for key in base.keys() & over.keys()
        if isinstance(base[key], Mapping) and isinstance(over[key], Mapping)
    }
    return {**base, **over, **both}


def read(site: str | None = None, over: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The chart's values, those of ``helm/sites/SITE.yaml`` over them, and ``over`` over both."""
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    if site is not None:
        values = merged(values, yaml.safe_load((CHART / "sites" / f"{site}.yaml").read_text()))
    return merged(values, over or {})
