from __future__ import annotations

import os

from af_kit.credentials.environment_variables import restore, set_for, user_value


def test_the_last_layer_is_in_effect_and_the_original_returns(monkeypatch):
    monkeypatch.setenv("AF_TEST_A", "mine")
    monkeypatch.delenv("AF_TEST_B", raising=False)
    set_for("one", {"AF_TEST_A": "1", "AF_TEST_B": "1"})
    set_for("two", {"AF_TEST_A": None})
    assert "AF_TEST_A" not in os.environ
    assert user_value("AF_TEST_A") == "mine"
    assert user_value("AF_TEST_B") is None
    restore("two")
    assert os.environ["AF_TEST_A"] == "1"
    set_for("one", {"AF_TEST_A": "2"})  # replaces what the owner had set before
    assert (os.environ["AF_TEST_A"], os.environ.get("AF_TEST_B")) == ("2", None)
    restore("one")
    restore("one")
    assert os.environ["AF_TEST_A"] == "mine"
