"""The state of a batch job, and the messages about jobs that users read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# Lines of a log that a message quotes.
_LOG_LINES = 12


@dataclass(frozen=True)
class Job:
    """A batch job.

    Attributes
    ----------
    id : str
        The id in the queue.
    state : str
        ``pending``, ``running`` or ``ended``.
    reason : str
        Why it waits or how it ended, in the words of the batch system. May be empty.
    worker : str
        The name of its worker.
    joined : bool
        Whether that worker has ever connected to the scheduler.
    log : str
        The path of its log; the file may not exist yet.
    """

    id: str
    state: str
    reason: str = ""
    worker: str = ""
    joined: bool = False
    log: str = ""


Advice = Callable[[str], str]
"""Returns what to do about a reason of the batch system, or an empty string."""


def pending_summary(jobs: Sequence[Job]) -> str:
    """Return one line about jobs: ``2 of 4 jobs pending (Resources), 2 running``."""
    if not jobs:
        return ""
    counts = Counter(job.state for job in jobs)
    parts: list[str] = []
    for state in ("pending", "running", "ended"):
        if counts[state]:
            reasons = sorted({job.reason for job in jobs if job.state == state and job.reason})
            shown = "" if state == "running" or not reasons else f" ({', '.join(reasons)})"
            total = f" of {len(jobs)} jobs" if not parts else ""
            parts.append(f"{counts[state]}{total} {state}{shown}")
    return ", ".join(parts)


def diagnose(jobs: Sequence[Job], refusal: str, advice: Advice) -> str:
    """Return why workers have not joined: a paragraph for the end of an error message.

    Parameters
    ----------
    jobs : sequence of Job
        The jobs of the cluster.
    refusal : str
        What the batch system said when it refused a job; may be empty.
    advice : callable
        What to do about a reason.
    """
    parts = []
    if refusal:
        parts.append(f"The queue refused a job: {_sentence(refusal)}{_advice(refusal, advice)}")
    if line := pending_summary(jobs):
        parts.append(f"The queue says: {line}.")
    for reason in sorted({job.reason for job in jobs if job.state == "pending" and job.reason}):
        if help_text := advice(reason):
            parts.append(f"{reason}: {help_text}")
    died = [job for job in jobs if job.state == "ended" and not job.joined]
    silent = [job for job in jobs if job.state == "running" and not job.joined]
    if died:
        job = died[-1]
        how = f" ({job.reason})" if job.reason else ""
        parts.append(
            f"Job {job.id} started and ended{how} before its worker joined."
            f"{_advice(job.reason, advice)}{quote_log(job.log)}"
        )
    elif silent:
        parts.append(f"Job {silent[0].id} runs, but its worker has not connected yet.{quote_log(silent[0].log)}")
    if not jobs and not refusal:
        parts.append("The queue has no job of this cluster.")
    return " ".join(parts)


def fatal_reason(jobs: Sequence[Job], refusal: str, advice: Advice, is_permanent: Callable[[str], bool]) -> str:
    """Return why none of these jobs will ever run a worker, or an empty string while one may.

    Parameters
    ----------
    jobs, refusal, advice
        As for `diagnose`.
    is_permanent : callable
        Whether a job that is pending for this reason will never run.
    """
    if any(job.joined for job in jobs):
        return ""
    may_join = [
        job for job in jobs if job.state == "running" or (job.state == "pending" and not is_permanent(job.reason))
    ]
    if may_join or not (jobs or refusal):
        return ""
    return diagnose(jobs, refusal, advice)


def end_of(log: str) -> str:
    """Return the last lines of a log, or an empty string if there are none."""
    try:
        lines = [line for line in Path(log).read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return "\n".join(lines[-_LOG_LINES:])


def quote_log(log: str) -> str:
    """Return the end of a message: the last lines of a log if it has any, else its path."""
    lines = end_of(log)
    return f" The end of its log {log}:\n{lines}\n" if lines else f" Its log: {log}." if log else ""


def _advice(reason: str, advice: Advice) -> str:
    help_text = advice(reason)
    return f" {help_text}" if help_text else ""


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
