"""`rdataframe` without ROOT, which the kit's own environment does not have; with it: tests/services/test_root.py."""

from __future__ import annotations

import importlib.util

import pytest

import af_kit as af
from af_kit.errors import MissingExtraError


@pytest.mark.skipif(importlib.util.find_spec("ROOT") is not None, reason="ROOT is here")
def test_without_root_the_install_command_is_named():
    with pytest.raises(MissingExtraError, match="pip install --pre"):
        af.rdataframe(None, ["file.root"])
