"""Findings as text, JSON and HTML."""

from __future__ import annotations

import json

import af_kit as af


def test_text_json_and_html():
    found = af.doctor()
    content = json.loads(found.to_json())
    assert content.keys() == {"format", "af_kit", "time", "state", "counts", "findings"}
    assert content["format"] == 1
    assert sum(content["counts"].values()) == len(content["findings"]) == len(found.findings)
    assert {tuple(finding) for finding in content["findings"]} == {("check", "state", "seen", "advice", "group")}
    assert content["state"] == "problem"  # the proxy does not exist
    assert found.problems[0].check == "X.509 proxy"
    assert "1 problem" in str(found)
    html = found._repr_html_()
    assert html.count("<table>") == 1
    assert "no-proxy-here" in html
