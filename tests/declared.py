"""The requirements that pyproject.toml declares."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def requirements(*extras: str) -> list[Requirement]:
    """Return the requirements of the kit with these extras, and with the extras that those include."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    found = [Requirement(line) for line in project["dependencies"]]
    todo = [Requirement(line) for extra in extras for line in project["optional-dependencies"][extra]]
    while todo:
        requirement = todo.pop()
        if requirement.name == project["name"]:
            todo += [
                Requirement(line) for extra in requirement.extras for line in project["optional-dependencies"][extra]
            ]
        else:
            found.append(requirement)
    return found
