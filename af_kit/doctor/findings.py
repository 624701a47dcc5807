"""What the doctor found: a line each, and all of them in a form to look at, to count and to hand on."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

__all__ = ["Diagnosis", "Finding", "ok", "problem", "warning"]

FORMAT = 1
STATES = ("ok", "warning", "problem")
_SIGNS = {"ok": "ok     ", "warning": "warning", "problem": "PROBLEM"}
_COLORS = {"ok": "#2e7d32", "warning": "#b26a00", "problem": "#c62828"}


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes
    ----------
    check : str
        What was looked at: ``"X.509 proxy"``.
    state : str
        ``"ok"``, ``"warning"`` (it may matter) or ``"problem"`` (something does not work).
    seen : str
        What was seen; never a secret.
    advice : str
        What to do; empty where nothing is to be done.
    group : str
        The group that the check belongs to.
    """

    check: str
    state: str
    seen: str
    advice: str = ""
    group: str = ""


def ok(check: str, seen: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", seen)


def warning(check: str, seen: str, advice: str) -> Finding:
    """It may matter."""
    return Finding(check, "warning", seen, advice)


def problem(check: str, seen: str, advice: str) -> Finding:
    """Something does not work."""
    return Finding(check, "problem", seen, advice)


@dataclass(frozen=True)
class Diagnosis:
    """All that the doctor found.

    Attributes
    ----------
    findings : tuple of Finding
        In the order of the groups.
    version : str
        Of af_kit.
    time : datetime
        When it was looked.
    """

    findings: tuple[Finding, ...]
    version: str
    time: datetime

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What does not work."""
        return tuple(finding for finding in self.findings if finding.state == "problem")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What may matter."""
        return tuple(finding for finding in self.findings if finding.state == "warning")

    @property
    def state(self) -> str:
        """The worst state of all."""
        return max((finding.state for finding in self.findings), key=STATES.index, default="ok")

    def groups(self) -> Iterator[tuple[str, list[Finding]]]:
        """The findings of each group."""
        for group in dict.fromkeys(finding.group for finding in self.findings):
            yield group, [finding for finding in self.findings if finding.group == group]

    def to_dict(self) -> dict[str, Any]:
        """The findings as plain text and numbers; the form is told in ``docs/doctor.md``."""
        return {
            "format": FORMAT,
            "af_kit": self.version,
            "time": self.time.astimezone(UTC).isoformat(timespec="seconds"),
            "state": self.state,
            "counts": {state: sum(f.state == state for f in self.findings) for state in STATES},
            "findings": [asdict(finding) for finding in self.findings],
        }

    def to_json(self) -> str:
        """The same as JSON text."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def _count(self) -> str:
        words = [(len(self.problems), "problem"), (len(self.warnings), "warning")]
        return ", ".join(f"{n} {word}{'s' * (n != 1)}" for n, word in words if n) or "nothing is wrong here"

    def __str__(self) -> str:
        lines = []
        for group, findings in self.groups():
            lines.append(group)
            for finding in findings:
                lines.append(f"  {_SIGNS[finding.state]}  {finding.check}: {finding.seen}")
                if finding.advice:
                    lines.append(f"           -> {finding.advice}")
        return "\n".join([*lines, "", f"{len(self.findings)} checks: {self._count()}."])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = []
        cell = "style='text-align:left;vertical-align:top'"
        for group, findings in self.groups():
            rows.append(f"<tr><th colspan='3' {cell}>{html.escape(group)}</th></tr>")
            for finding in findings:
                advice = f"<br><i>{html.escape(finding.advice)}</i>" if finding.advice else ""
                state = f"<b style='color:{_COLORS[finding.state]}'>{finding.state}</b>"
                cells = (state, html.escape(finding.check), html.escape(finding.seen) + advice)
                rows.append(f"<tr>{''.join(f'<td {cell}>{content}</td>' for content in cells)}</tr>")
        return f"<p><b>{html.escape(self._count())}</b></p><table>{''.join(rows)}</table>"
