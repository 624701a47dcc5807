"""``af_kit.doctor`` is a function for users and a package for imports, whichever comes first."""

from __future__ import annotations

import inspect
import pydoc
import subprocess
import sys

import pytest

import af_kit as af
from af_kit.doctor.diagnose import doctor

CALL = "diagnosis = af.doctor(); print(type(diagnosis).__name__, bool(diagnosis.findings))"
USE = "print(af_kit.doctor.diagnose.doctor.__name__)"


@pytest.mark.parametrize(
    "code",
    [
        f"import af_kit as af; {CALL}; import af_kit.doctor.diagnose; {USE}",
        f"import af_kit.doctor.diagnose; import af_kit as af; {CALL}; {USE}",
        f"import af_kit as af; af.doctor; import af_kit.doctor.diagnose; {CALL}; {USE}",
        f"from af_kit.doctor import doctor; import af_kit as af; {CALL}; import af_kit.doctor.diagnose; {USE}",
    ],
)
def test_it_can_be_called_after_imports_in_any_order(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == ["Diagnosis True", "doctor"], done.stderr


def test_it_has_the_signature_and_the_help_of_the_function():
    assert str(inspect.signature(af.doctor)) == str(inspect.signature(doctor))
    text = pydoc.plain(pydoc.render_doc(af.doctor))
    assert f"doctor{inspect.signature(doctor)}" in text
    assert "client : distributed.Client, optional" in text
