"""Check the configuration: unknown keys, and values of the wrong type. `setting` reads the doctor's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dask.config

from af_kit import config
from af_kit.doctor.findings import Finding, ok, problem
from af_kit.errors import InputError

__all__ = ["check_settings", "setting"]


def setting(key: str) -> Any:
    """Return a configured value, even if another key is wrong: `check_settings` reports that, once."""
    try:
        return config.get(key)
    except InputError:
        default: Any = config.defaults()
        for name in key.split("."):
            default = default[name]
        given = dask.config.get(f"af_kit.{key}", default=default)
        return {**default, **given} if isinstance(default, dict) and isinstance(given, dict) else given


def check_settings() -> Iterator[Finding]:
    """Check every group of the kit's configuration, and list the files that it comes from."""
    wrong = []
    for group in config.defaults():
        try:
            config.get(group)
        except InputError as error:
            wrong.append(str(error))
    for text in dict.fromkeys(wrong):
        yield problem("af_kit's keys", text, "Correct or remove it; until then the kit refuses to start.")
    if not wrong:
        files = [str(path) for path in dask.config.paths_containing_key("af_kit", paths=dask.config.paths)]
        origin = f"set in {', '.join(files)}" if files else "defaults, or set in this session"
        yield ok("af_kit's keys", f"all keys are valid; {origin}")
