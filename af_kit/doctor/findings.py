"""The result of the doctor: a `Finding` per check, and the `Diagnosis` that shows, counts and exports them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from af_kit.display.tables import mark, panel, stacked, strong, table

__all__ = ["Diagnosis", "Finding", "ok", "problem", "warning"]

FORMAT = 1
STATES = ("ok", "warning", "problem")
_SIGNS = {"ok": "ok     ", "warning": "warning", "problem": "PROBLEM"}


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    check : str
        What was checked, such as ``"X.509 proxy"``.
    state : str
        ``"ok"``, ``"warning"`` (it may matter) or ``"problem"`` (something does not work).
    seen : str
        What was found. It never contains a secret.
    advice : str
        What to do; empty if there is nothing to do.
    group : str
        The group that the check belongs to.
    """

    check: str
    state: str
    seen: str
    advice: str = ""
    group: str = ""


def ok(check: str, seen: str) -> Finding:
    """Return a finding without fault."""
    return Finding(check, "ok", seen)


def warning(check: str, seen: str, advice: str) -> Finding:
    """Return a finding that may matter."""
    return Finding(check, "warning", seen, advice)


def problem(check: str, seen: str, advice: str) -> Finding:
    """Return a finding about something that does not work."""
    return Finding(check, "problem", seen, advice)


@dataclass(frozen=True)
class Diagnosis:
    """All findings of the doctor.

    Attributes
    ----------
    findings : tuple of Finding
        In the order of the groups.
    version : str
        Version of af_kit.
    time : datetime
        When the checks ran.
    """

    findings: tuple[Finding, ...]
    version: str
    time: datetime

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings about things that do not work."""
        return tuple(finding for finding in self.findings if finding.state == "problem")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that may matter."""
        return tuple(finding for finding in self.findings if finding.state == "warning")

    @property
    def state(self) -> str:
        """The worst state of all findings."""
        return max((finding.state for finding in self.findings), key=STATES.index, default="ok")

    def groups(self) -> Iterator[tuple[str, list[Finding]]]:
        """Yield the name and the findings of each group."""
        for group in dict.fromkeys(finding.group for finding in self.findings):
            yield group, [finding for finding in self.findings if finding.group == group]

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as text and numbers, in the format of ``docs/doctor.md``."""
        return {
            "format": FORMAT,
            "af_kit": self.version,
            "time": self.time.astimezone(UTC).isoformat(timespec="seconds"),
            "state": self.state,
            "counts": {state: sum(f.state == state for f in self.findings) for state in STATES},
            "findings": [asdict(finding) for finding in self.findings],
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def _count(self) -> str:
        counts = [(len(self.problems), "problem"), (len(self.warnings), "warning")]
        return ", ".join(f"{n} {noun}{'s' * (n != 1)}" for n, noun in counts if n) or "no problems"

    def __str__(self) -> str:
        lines = []
        for group, findings in self.groups():
            lines.append(group)
            for finding in findings:
                lines.append(f"  {_SIGNS[finding.state]}  {finding.check}: {finding.seen}")
                if finding.advice:
                    lines.append(f"           -> {finding.advice}")
        return "\n".join([*lines, "", f"{len(self.findings)} checks: {self._count()}."])

    def __repr__(self) -> str:
        return f"<Diagnosis: {len(self.findings)} checks, {self._count()}>"

    def _repr_html_(self) -> str:
        rows: list[tuple[str, str, str, str]] = []
        for group, findings in self.groups():
            for number, one in enumerate(findings):
                state = mark(one.state, one.state)
                rows.append(("" if number else strong(group), state, one.check, stacked(one.seen, one.advice)))
        return panel(f"{len(self.findings)} checks: {self._count()}", table(rows, most=len(rows)))
