"""The messages about jobs."""

from __future__ import annotations

from pathlib import Path

from af_kit.cluster.batch.slurm import queue
from af_kit.cluster.batch.status import Job, diagnose, fatal_reason, pending_summary


def test_the_summary_of_jobs():
    pending = Job("1", "pending", "Resources"), Job("2", "pending", "Priority")
    running = Job("3", "running"), Job("4", "running", joined=True)
    assert pending_summary([]) == ""
    assert pending_summary([*pending, *running]) == "2 of 4 jobs pending (Priority, Resources), 2 running"
    assert pending_summary(running) == "2 of 2 jobs running"


def test_a_job_that_died_is_quoted(tmp_path: Path):
    log = tmp_path / "big-7.log"
    log.write_text("\n".join(f"line {number}" for number in range(100)))
    job = Job("7", "ended", "FAILED, NonZeroExitCode", log=str(log))
    message = diagnose([job], "", queue.advice)
    assert "Job 7 started and ended (FAILED, NonZeroExitCode) before its worker joined" in message
    assert f"The end of its log {log}:\nline 88\n" in message
    assert "line 99" in message
    assert fatal_reason([job], "", queue.advice, lambda _: False) == message


def test_nothing_is_fatal_while_a_job_may_run():
    def is_permanent(reason: str) -> bool:
        return reason == "never"

    never, busy, running = Job("1", "pending", "never"), Job("2", "pending", "busy"), Job("3", "running")
    assert fatal_reason([], "", queue.advice, is_permanent) == ""
    assert fatal_reason([never, busy], "", queue.advice, is_permanent) == ""
    assert fatal_reason([never, running], "refused", queue.advice, is_permanent) == ""
    assert "1 of 1 jobs pending (never)" in fatal_reason([never], "", queue.advice, is_permanent)
    assert "The queue refused a job: no." in fatal_reason([], "no", queue.advice, is_permanent)
    assert fatal_reason([Job("4", "ended", joined=True)], "", queue.advice, is_permanent) == ""
