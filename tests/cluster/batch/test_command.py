"""Commands of a batch system."""

from __future__ import annotations

import asyncio

import pytest

from af_kit.cluster.batch.command import QueueError, ask, require
from af_kit.errors import ConnectError


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["sh", "-c", "echo no; echo so >&2; exit 3"], "so"),
        (["sh", "-c", "echo no; exit 3"], "no"),
        (["sh", "-c", "exit 3"], r"sh failed \(exit code 3\)"),
        (["no-such-program"], "no-such-program cannot be run: No such file"),
        (["sleep", "60"], r"sleep did not answer within 0\.5 s"),
    ],
)
def test_a_command_of_the_queue_that_fails(command: list[str], message: str):
    with pytest.raises(QueueError, match=message):
        asyncio.run(ask(*command, timeout_s=0.5))


def test_what_a_command_of_the_queue_prints():
    assert asyncio.run(ask("echo", "7")) == "7\n"
    assert asyncio.run(ask("cat", stdin="a job")) == "a job"


def test_a_command_that_this_machine_does_not_have():
    require("sh")
    with pytest.raises(ConnectError, match="There is no no-such-program on this machine"):
        require("no-such-program")


def test_a_folder_of_the_path_that_this_user_may_not_enter(monkeypatch: pytest.MonkeyPatch):
    async def refused(*command: str, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refused)
    with pytest.raises(QueueError, match="no-such-program cannot be run: No such file"):
        asyncio.run(ask("no-such-program"))
    with pytest.raises(QueueError, match="sh cannot be run: Permission denied"):
        asyncio.run(ask("sh"))
