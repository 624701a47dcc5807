from __future__ import annotations

import asyncio

import pytest

from af_kit.cluster.kubernetes.api import Refused
from af_kit.cluster.kubernetes.readiness import create

NEW_QUOTA = Refused("status unknown for quota: af-kit, resources: count/daskclusters", 403)


def test_creation_waits_until_a_new_quota_is_evaluated():
    answers, problems = [NEW_QUOTA, NEW_QUOTA, {"metadata": {"uid": "7"}}], []

    async def post() -> dict:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert asyncio.run(create(post, problems, poll_s=0.01)) == {"metadata": {"uid": "7"}}
    assert (answers, problems) == ([], [])

    answers[:] = [NEW_QUOTA] * 100
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(create(post, problems, poll_s=0.01), 0.1))
    assert "status unknown for quota: af-kit" in str(problems[0])

    answers[:] = [Refused("exceeded quota: af-kit", 403)]
    with pytest.raises(Refused, match="exceeded quota"):
        asyncio.run(create(post, problems))
