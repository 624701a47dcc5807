"""The values of the chart in helm/, merged as Helm merges values files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from services.common import ROOT

__all__ = ["CHART", "DEPENDENCIES", "have_dependencies", "merged", "read"]

CHART = ROOT / "helm"
DEPENDENCIES = ("jupyterhub", "dask-kubernetes-operator")
"""The charts that ours depends on."""


def have_dependencies() -> bool:
    """Return whether they are in helm/charts, as after ``helm dependency update helm``."""
    return all(any((CHART / "charts").glob(f"{name}*")) for name in DEPENDENCIES)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the values of ``over``: mappings are merged key by key, other values replaced."""
    both = {
        key: merged(base[key], over[key])
        for key in base.keys() & over.keys()
        if isinstance(base[key], Mapping) and isinstance(over[key], Mapping)
    }
    return {**base, **over, **both}


def read(site: str | None = None, over: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the chart's values, merged with those of ``helm/sites/SITE.yaml`` and then with ``over``."""
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    if site is not None:
        values = merged(values, yaml.safe_load((CHART / "sites" / f"{site}.yaml").read_text()))
    return merged(values, over or {})
