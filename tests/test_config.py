"""The configuration: defaults, what takes precedence over them, and wrong keys."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import dask.config
import pytest
import yaml

import af_kit
from af_kit import config
from af_kit.errors import InputError

YAML = Path(af_kit.__file__).with_name("af_kit.yaml")


def run(code: str, **environment: str) -> str:
    """Return what ``code`` prints in a new process with these variables."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_defaults_are_those_of_the_file():
    content = yaml.safe_load(YAML.read_text())["af_kit"]
    for group in content:
        assert config.get(group) == content[group]
    assert config.get("data.redirectors") == []
    assert config.get("run.retries") == 3
    assert config.get("cluster.local.memory") == "auto"


def test_every_key_has_a_comment():
    lines = YAML.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r" {4,6}\w+:", line) and not re.match(r" {4}\w+:$", line):  # the name of a group needs no comment
            above = lines[number - 1].strip()
            shared = re.match(r"\w+: ", above)  # keys in a block share a comment
            assert above.startswith("#") or shared, line


def test_importing_is_light():
    assert run("import sys, af_kit.config; print('dask' in sys.modules, 'yaml' in sys.modules)") == "False False\n"


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("cluster.timout_s", "'cluster.timeout_s'"),
        ("clustre.timeout_s", "'cluster.timeout_s'"),
        ("cluster.timeout_s.more", "cluster.timeout_s"),
        ("redirectors", "redirectors"),
    ],
)
def test_wrong_key_names_the_nearest(key: str, hint: str):
    with pytest.raises(InputError, match=re.escape(f"af_kit.{key}")) as caught:
        config.get(key)
    assert hint in str(caught.value)


def test_a_wrong_key_in_the_users_configuration_is_an_error():
    wrong = pytest.raises(InputError, match=r"af_kit\.cluster\.timout_s.*'cluster\.timeout_s'")
    with dask.config.set({"af_kit.cluster.timout_s": 5}), wrong:
        config.get("run.retries")
    assert config.get("run.retries") == 3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cluster.timeout_s", "soon"),
        ("cluster.timeout_s", True),
        ("cluster.check_versions", "no"),
        ("data.redirectors", 5),
        ("cluster.local", 5),
        ("cluster.backend", ["local"]),
    ],
)
def test_a_value_of_another_type_is_an_error(key: str, value: object):
    with dask.config.set({f"af_kit.{key}": value}), pytest.raises(InputError, match=re.escape(f"af_kit.{key} is")):
        config.get(key)


def test_set_is_only_in_effect_inside_its_block():
    with dask.config.set({"af_kit.run.retries": 0, "af_kit.cluster.local.memory": 2_000_000_000}):
        assert config.get("run.retries") == 0
        assert config.get("cluster.local") == {**config.defaults()["cluster"]["local"], "memory": 2_000_000_000}
    assert config.get("run.retries") == 3


def test_defaults_survive_a_block_that_created_the_section():
    code = (
        "import dask\nfrom af_kit import config\n"
        "with dask.config.set({'af_kit.run.retries': 0}): print(config.get('run.retries'))\n"
        "print(config.get('run.retries'), config.get('cluster.timeout_s'))"
    )
    assert run(code) == "0\n3 60\n"


def test_a_dash_is_an_underscore():
    with dask.config.set({"af_kit": {"cluster": {"timeout-s": 5}}}):
        assert config.get("cluster.timeout_s") == 5
        assert config.get("cluster")["timeout_s"] == 5


def test_one_entry_needs_no_brackets():
    with dask.config.set({"af_kit.data.redirectors": "root://host/"}):
        assert config.get("data.redirectors") == ["root://host/"]


def test_any_name_is_valid_below_the_environment_group():
    with dask.config.set({"af_kit.cluster.environment.X509_CERT_DIR": "/certificates"}):
        variables = config.get("cluster.environment")
    assert variables["X509_CERT_DIR"] == "/certificates"
    assert variables["OMP_NUM_THREADS"] == 1


def test_returned_values_can_be_changed():
    config.get("data.redirectors").append("root://mine/")
    config.get("cluster.local")["cores"] = 8
    assert config.get("data.redirectors") == []
    assert config.get("cluster.local.cores") == 1


def test_site_file_and_environment_take_precedence_over_defaults(tmp_path: Path):
    (tmp_path / "site.yaml").write_text("af_kit: {cluster: {timeout_s: 5, backend: local}, run: {retries: 7}}\n")
    code = (
        "from af_kit import config; import dask\n"
        "print([config.get(k) for k in ('cluster.timeout_s', 'cluster.backend', 'run.retries', 'run.backoff_s')])\n"
        "dask.config.refresh()\n"
        "print(config.get('run.retries'), dask.config.get('af_kit.run.backoff_s'))"
    )
    printed = run(code, DASK_CONFIG=str(tmp_path), DASK_AF_KIT__CLUSTER__TIMEOUT_S="9")
    assert printed == "[9, 'local', 7, 0.5]\n7 0.5\n"


def test_errors_name_the_file_or_variable(tmp_path: Path):
    site = tmp_path / "site.yaml"
    site.write_text("af_kit: {run: {retris: 7}}\n")
    code = "from af_kit import config; config.get('run.retries')"
    assert str(site) in run(code, DASK_CONFIG=str(tmp_path))
    assert "$DASK_AF_KIT__RUN__RETRIES" in run(code, DASK_AF_KIT__RUN__RETRIES="often")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (4, r"memory=4 is 4 bytes, .* Did you mean '4 GiB'\?"),
        ("10", r"memory='10' is 10 bytes, .* Did you mean '10 GiB'\?"),
        ("2.5", r"is 2 bytes.* '2.5 GiB'\?"),
        (4000, r"is 4000 bytes.* '4000 MiB'\?"),
        ("4 kB", r"is 4000 bytes"),
        ("100 MiB", "a worker needs 200 MiB or more"),
    ],
)
def test_memory_that_no_worker_fits_in(given: object, words: str):
    with pytest.raises(InputError, match=words):
        config.as_worker_memory(given, "memory")
    assert config.as_worker_memory("200 MiB", "memory") == 200 * 2**20


def test_a_number_of_workers_from_the_environment():
    code = "from af_kit.cluster import local; print(local.usual_workers())"
    variable = "DASK_AF_KIT__CLUSTER__LOCAL__N_WORKERS"
    assert run(code, **{variable: "3"}) == "3\n"
    for wrong in ("0", "-1", "2.5", "many"):
        assert f", from ${variable}: expected a whole number of 1 or more" in run(code, **{variable: wrong})
