"""The rules of ``AF_KIT_REQUIRE`` (tests/services/conftest.py), each in a small separate test run."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).parent / "services" / "conftest.py"

NEEDS_A_PROGRAM = """
def test_service(require):
    assert require("demo", ["sh", "{program}"])["sh"].endswith("/sh")
"""


@pytest.fixture
def services(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder of service tests, in a run that requires no service."""
    monkeypatch.delenv("AF_KIT_REQUIRE", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # else each run would import all plugins again
    pytester.makeconftest(CONFTEST.read_text())
    return pytester


@pytest.mark.parametrize("asked", ["", "demo", " other , demo,"])
def test_an_installed_service_is_tested(services, monkeypatch, asked):
    monkeypatch.setenv("AF_KIT_REQUIRE", asked)
    services.makepyfile(test_demo=NEEDS_A_PROGRAM.format(program="ls"), test_other="def test(): pass")
    services.runpytest_subprocess().assert_outcomes(passed=2)


def test_an_absent_service_is_skipped_with_the_reason(services):
    services.makepyfile(test_demo=NEEDS_A_PROGRAM.format(program="no-such-daemon"))
    result = services.runpytest_subprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*demo is not installed: no no-such-daemon"])


def test_an_absent_service_fails_if_it_is_required(services, monkeypatch):
    monkeypatch.setenv("AF_KIT_REQUIRE", "demo")
    services.makepyfile(test_demo=NEEDS_A_PROGRAM.format(program="no-such-daemon"))
    result = services.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*AF_KIT_REQUIRE asks for demo, but it is not installed: no no-such-daemon*"])


def test_only_required_services_must_be_installed(services, monkeypatch):
    monkeypatch.setenv("AF_KIT_REQUIRE", "other")
    services.makepyfile(test_demo=NEEDS_A_PROGRAM.format(program="no-such-daemon"), test_other="def test(): pass")
    services.runpytest_subprocess().assert_outcomes(passed=1, skipped=1)


@pytest.mark.parametrize(
    "body",
    [
        "import pytest\ndef test():\n    pytest.skip('later')",
        "import pytest\n@pytest.mark.skip(reason='later')\ndef test(): pass",
        "import pytest\n@pytest.mark.parametrize('x', [])\ndef test(x): pass",
    ],
    ids=["in the test", "by a mark", "by an empty parametrize"],
)
def test_no_other_skip_hides_a_required_service(services, monkeypatch, body):
    services.makepyfile(test_demo=body)
    services.runpytest_subprocess().assert_outcomes(skipped=1)
    monkeypatch.setenv("AF_KIT_REQUIRE", "demo")
    result = services.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "skipped" not in result.parseoutcomes()


@pytest.mark.parametrize(
    "body", ["import pytest\npytest.importorskip('no_such_package')", ""], ids=["skipped", "empty"]
)
def test_a_file_without_tests_fails_if_it_is_required(services, monkeypatch, body):
    services.makepyfile(test_demo=body, test_other="def test(): pass")
    assert services.runpytest_subprocess().ret == pytest.ExitCode.OK
    monkeypatch.setenv("AF_KIT_REQUIRE", "demo")
    services.runpytest_subprocess().assert_outcomes(errors=1)


def test_an_expected_failure_is_not_changed(services, monkeypatch):
    monkeypatch.setenv("AF_KIT_REQUIRE", "demo")
    services.makepyfile(test_demo="import pytest\n@pytest.mark.xfail\ndef test(): assert False")
    services.runpytest_subprocess().assert_outcomes(xfailed=1)


@pytest.mark.parametrize("where", [".", "services"])
def test_a_service_without_a_test_file_ends_the_run(services, monkeypatch, where):
    services.mkdir("services").joinpath("conftest.py").write_text(CONFTEST.read_text())
    services.path.joinpath("conftest.py").unlink()
    services.path.joinpath("services", "test_slurm.py").write_text("def test(): pass")
    services.makepyfile(test_unit="def test(): pass")
    monkeypatch.setenv("AF_KIT_REQUIRE", "slrum")
    result = services.runpytest_subprocess(where)
    assert result.ret != pytest.ExitCode.OK
    output = pytest.LineMatcher([*result.outlines, *result.errlines])
    output.fnmatch_lines(["*'slrum', but there is no tests/services/test_slrum.py. Did you mean 'slurm'?"])
