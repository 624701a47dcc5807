"""The environments of session and workers, compared."""

from __future__ import annotations

from typing import Any

from af_kit.cluster import environment_diff


def test_environments_are_compared():
    session = {"numpy": "2.1", "hist": "2.9", "mine": "1.0"}
    assert environment_diff.compare(session, {"a": session, "b": {**session, "more": "1"}}) == []
    assert environment_diff.compare(session, {"a": session, "b": {"numpy": "2.2", "hist": "2.9"}}) == [
        "not on all workers: mine",
        "other versions: numpy 2.1 here, 2.2 there",
    ]
    many = {f"p{number:02}": "1" for number in range(20)}
    (line,) = environment_diff.compare(many, {"a": {}})
    assert line.endswith("p07 and 12 more")
    assert "numpy" in environment_diff.installed()


class Client:
    """A client whose workers have another environment."""

    def __init__(self, environment: environment_diff.Environment, packages: dict[str, str]) -> None:
        self._answers = {environment_diff.current: environment, environment_diff.installed: packages}

    def run(self, function: Any, **how: Any) -> dict[str, Any]:
        return {"tcp://worker": self._answers[function]}


def test_another_folder_with_the_same_packages_is_fine():
    other = environment_diff.Environment("/opt/conda", "hub/image:1")
    packages = environment_diff.installed()
    assert environment_diff.differences(Client(other, packages)) == []
    first, second = environment_diff.differences(Client(other, {**packages, "numpy": "0.1"}))
    assert "/opt/conda in hub/image:1 on 1 of 1 workers" in first
    assert second.startswith("other versions: numpy")
    assert environment_diff.differences(Client(environment_diff.current(), {})) == []
