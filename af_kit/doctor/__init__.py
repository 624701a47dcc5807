"""Find out what is wrong with this session, its site or its cluster, and what to do about it: ``af_kit.doctor()``.

`doctor` runs all checks. Each file has one group of them.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from af_kit.doctor.diagnose import doctor
    from af_kit.doctor.findings import Diagnosis

__all__ = ["doctor"]


class _CallablePackage(ModuleType):
    # Python binds the name `doctor` in af_kit to this package when any module of it is imported, also if it was bound
    # to the function of that name. So the package itself can be called.
    def __call__(self, client: Any = None, *, open: str | None = None) -> Diagnosis:
        """Run all checks: see `doctor`."""
        diagnosis: Diagnosis = self.doctor(client, open=open)
        return diagnosis


sys.modules[__name__].__class__ = _CallablePackage


def __getattr__(name: str) -> Any:
    if name == "doctor":
        from af_kit.doctor import diagnose

        return diagnose.doctor
    raise AttributeError(f"module 'af_kit.doctor' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})  # so that help(af_kit.doctor) shows the function
