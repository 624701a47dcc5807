"""The jobs of a cluster, and what to tell a user about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# Lines of a dead job's log that a message shows.
_LINES = 12


@dataclass(frozen=True)
class Job:
    """A job as its queue tells of it.

    Attributes
    ----------
    id : str
        The queue's.
    state : str
        ``pending``, ``running`` or ``ended``.
    reason : str
        In the queue's own words: why it waits, or how it ended. May be empty.
    worker : str
        The name of its worker.
    joined : bool
        Whether that worker has come to the scheduler.
    log : str
        The path of its log; the file may not be there yet.
    """

    id: str
    state: str
    reason: str = ""
    worker: str = ""
    joined: bool = False
    log: str = ""


Advice = Callable[[str], str]


def pending_summary(jobs: Sequence[Job]) -> str:
    """One line about jobs that are not workers yet: ``2 of 4 jobs pending (Resources), 2 running``."""
    if not jobs:
        return ""
    counts = Counter(job.state for job in jobs)
    parts: list[str] = []
    for state in ("pending", "running", "ended"):
        if counts[state]:
            reasons = sorted({job.reason for job in jobs if job.state == state and job.reason})
            shown = "" if state == "running" or not reasons else f" ({', '.join(reasons)})"
            of = f" of {len(jobs)} jobs" if not parts else ""
            parts.append(f"{counts[state]}{of} {state}{shown}")
    return ", ".join(parts)


def diagnose(jobs: Sequence[Job], refusal: str, advice: Advice) -> str:
    """Why workers have not joined: a paragraph for the end of an error.

    Parameters
    ----------
    jobs : sequence of Job
        What the queue tells.
    refusal : str
        What it said when it refused a job; may be empty.
    advice : callable
        What to do about one of the queue's reasons; an empty text where nothing is known.
    """
    parts = []
    if refusal:
        parts.append(f"The queue refused a job: {_sentence(refusal)}{_advice(refusal, advice)}")
    if line := pending_summary(jobs):
        parts.append(f"The queue says: {line}.")
    for reason in sorted({job.reason for job in jobs if job.state == "pending" and job.reason}):
        if told := advice(reason):
            parts.append(f"{reason}: {told}")
    dead = [job for job in jobs if job.state == "ended" and not job.joined]
    if dead:
        parts.append(_last_words(dead[-1], advice))
    elif any(job.state == "running" and not job.joined for job in jobs):
        started = next(job for job in jobs if job.state == "running" and not job.joined)
        parts.append(f"Job {started.id} runs, but its worker has not reported.{_log(started)}")
    if not jobs and not refusal:
        parts.append("The queue knows of no job of this cluster.")
    return " ".join(parts)


def fatal_reason(jobs: Sequence[Job], refusal: str, advice: Advice, lasting: Callable[[str], bool]) -> str:
    """Why none of these jobs will ever be a worker; empty while one may."""
    if any(job.joined for job in jobs):
        return ""
    may_come = [job for job in jobs if job.state == "running" or (job.state == "pending" and not lasting(job.reason))]
    if may_come or not (jobs or refusal):
        return ""
    return diagnose(jobs, refusal, advice)


def end_of(log: str) -> str:
    """The last lines of a job's log, or an empty text."""
    try:
        lines = [line for line in Path(log).read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return "\n".join(lines[-_LINES:])


def _last_words(job: Job, advice: Advice) -> str:
    how = f" ({job.reason})" if job.reason else ""
    return f"Job {job.id} started and ended{how} before its worker joined.{_advice(job.reason, advice)}{_log(job)}"


def _log(job: Job) -> str:
    lines = end_of(job.log)
    return f" The end of its log {job.log}:\n{lines}\n" if lines else f" Its log: {job.log}." if job.log else ""


def _advice(reason: str, advice: Advice) -> str:
    told = advice(reason)
    return f" {told}" if told else ""


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
