"""Helpers for the tests of the doctor."""

from __future__ import annotations

from af_kit.doctor.findings import Diagnosis, Finding

# The groups of checks without a client
GROUPS = ["configuration", "credentials", "storage", "this machine", "the site"]


def of(diagnosis: Diagnosis, check: str) -> Finding:
    """Return the only finding of a check."""
    (finding,) = [finding for finding in diagnosis.findings if finding.check == check]
    return finding


def all_text(diagnosis: Diagnosis) -> str:
    return str(diagnosis) + diagnosis.to_json() + diagnosis._repr_html_()
