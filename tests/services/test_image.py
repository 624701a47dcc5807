"""The image, built and run by a real Docker daemon as docs/install.md says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from certificates import Authority, pem
from declared import requirements

import af_kit
from services.common import free_ports, wait_until
from services.image.daemon import PROGRAMS, Docker, missing
from services.image.machine import build_flags, certificates
from services.image.pages import command

ROOT = Path(__file__).parents[2]
LIMIT_GB = 2.2  # docs/image.md lists the parts of the size
CANARY = "af-kit-canary-of-the-build"
pytestmark = pytest.mark.timeout(1800)  # the build downloads packages


# ---------------------------------------------------------------------------------------------------------- the image


@pytest.fixture(scope="module")
def canary(tmp_path_factory) -> list[str]:
    """The file of an additional authority that the build trusts, and its lines, which must not be in the image."""
    authority = Authority()
    bundle = certificates()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_bytes((bundle.read_bytes() if bundle else b"") + b"\n" + pem(authority.certificate))
    return [str(path), *pem(authority.certificate).decode().splitlines()[1:-1]]


@pytest.fixture(scope="module")
def docker(require, canary) -> Iterator[Docker]:
    """The daemon, with the image ``af-kit`` built by the command of docs/install.md.

    Its folder stays after the tests (until ``services/image/stop --remove``), so that Docker only builds changes.
    """
    require("image", PROGRAMS)
    if reason := missing():
        pytest.skip(reason)
    docker = Docker()
    was_running = docker.is_running()
    try:
        # Without authorities of the machine, pip uses its own list, as it would for a user.
        ca = Path(canary[0]) if certificates() else None
        docker.start(flags=build_flags(docker.folder, ca=ca, extra_pip=f"\n# {CANARY}\n"))
        docker.shell(command("docs/install.md", "docker build"))
        docker.start()
        yield docker
    finally:
        if not was_running:
            docker.stop()


class Container:
    """A container that runs until the end of the test."""

    def __init__(self, docker: Docker, name: str) -> None:
        self.docker, self.name = docker, name

    def run(self, *command: str, timeout_s: float = 120, check: bool = True, user: str | None = None) -> str:
        """Return what a command in the container prints."""
        flags = ["--user", user] if user else []
        return self.docker.run("exec", *flags, self.name, *command, timeout_s=timeout_s, check=check).stdout

    def python(self, code: str, **options) -> str:
        return self.run("python", "-c", code, **options)

    def inspect(self, template: str) -> str:
        return self.docker.run("inspect", "--format", template, self.name).stdout.strip()

    @property
    def log(self) -> str:
        done = self.docker.run("logs", self.name)
        return done.stdout + done.stderr

    def wait_until_healthy(self, within_s: float = 90) -> None:
        def healthy() -> bool:
            if self.inspect("{{.State.Status}}") != "running":
                raise AssertionError(f"{self.name} ended: {self.log[-2000:]}")
            return self.inspect("{{.State.Health.Status}}") == "healthy"

        wait_until(healthy, f"{self.name} is not healthy", within_s=within_s)


@contextmanager
def container(docker: Docker, *command: str, flags: tuple[str, ...] = ()) -> Iterator[Container]:
    """Start a container with a command, and remove it at the end."""
    name = f"af-kit-test-{uuid.uuid4().hex[:8]}"
    # By default Docker runs the first health check after 15 s.
    docker.run("run", "--detach", "--name", name, "--health-interval=1s", *flags, "af-kit", *command)
    try:
        yield Container(docker, name)
    finally:
        docker.run("rm", "--force", "--volumes", name)


def once(docker: Docker, *command: str, flags: tuple[str, ...] = ()) -> str:
    """Return what a command prints in a new container."""
    return docker.run("run", "--rm", *flags, "af-kit", *command).stdout


class Lab:
    """JupyterLab on a port of 127.0.0.1."""

    def __init__(self, port: int, token: str) -> None:
        self.port, self.token = port, token

    def ask(self, path: str, *, method: str = "GET", token: bool = True) -> tuple[int, bytes]:
        headers = {"Authorization": f"token {self.token}"} if token else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method, headers=headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def listens(self) -> bool:
        """Return whether it answers; Docker resets connections to a port that nobody listens to yet."""
        try:
            return self.ask("/api")[0] == 200
        except OSError:
            return False


@pytest.fixture(scope="module")
def lab(docker, tmp_path_factory) -> Iterator[tuple[Lab, Container]]:
    """JupyterLab by the command of docs/install.md, on a free port; one Ctrl-C must stop it at the end."""
    line = command("docs/install.md", "docker run")
    assert "-p 127.0.0.1:8888:8888" in line
    port, name = free_ports(1)[0], f"af-kit-test-{uuid.uuid4().hex[:8]}"
    line = line.replace("127.0.0.1:8888:", f"127.0.0.1:{port}:").replace(" run ", f" run --name {name} ")
    output = tmp_path_factory.mktemp("lab") / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            ["sh", "-c", f"exec {line}"], env=docker.environment(), stdout=file, stderr=file, stdin=subprocess.DEVNULL
        )
    try:

        def address() -> re.Match[str] | None:
            assert process.poll() is None, output.read_text()
            return re.search(r"http://127\.0\.0\.1:8888/lab\?token=(\w+)", output.read_text())

        token = wait_until(address, "JupyterLab does not print its address", within_s=90, log=output)[1]
        lab = Lab(port, token)
        wait_until(lab.listens, "JupyterLab does not listen", within_s=60, log=output)  # it prints its address before
        yield lab, Container(docker, name)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
        assert docker.run("inspect", name, check=False).returncode != 0  # --rm
    finally:
        process.kill()
        process.wait()
        docker.run("rm", "--force", name, check=False)


def test_jupyterlab_answers_with_its_token_only(lab):
    lab, _ = lab
    status, page = lab.ask("/lab")
    assert status == 200
    assert b"JupyterLab" in page
    assert lab.ask("/api/contents")[0] == 200
    assert lab.ask("/api/contents", token=False)[0] == 403
    assert b"token" in lab.ask("/lab", token=False)[1]  # the login page


def test_jupyterlab_fetches_no_news(lab):
    lab, _ = lab
    status, settings = lab.ask("/lab/api/settings/@jupyterlab/apputils-extension:notification")
    assert status == 200
    defaults = {name: known["default"] for name, known in json.loads(settings)["schema"]["properties"].items()}
    assert (defaults["fetchNews"], defaults["checkForUpdates"]) == ("false", False)


def test_the_dask_panel_starts_a_local_cluster(lab):
    lab, _ = lab
    page = lab.ask("/lab")[1].decode()
    assert "dask-labextension" in page
    status, answer = lab.ask("/dask/clusters/", method="PUT")
    assert status == 200, answer
    cluster = json.loads(answer)
    try:
        assert cluster["scheduler_address"].startswith("tcp://127.0.0.1:")
        assert re.fullmatch(
            r"/proxy/127\.0\.0\.1:\d+/status", cluster["dashboard_link"]
        )  # reachable for a browser outside
        status, page = lab.ask(cluster["dashboard_link"])
        assert status == 200
        assert b"bokeh" in page.lower()
    finally:
        assert lab.ask(f"/dask/clusters/{cluster['id']}", method="DELETE")[0] == 204
    assert json.loads(lab.ask("/dask/clusters/")[1]) == []


def test_notebook_01_runs_in_the_image(lab):
    _, container = lab
    run = "AF_KIT_EVENTS=20000 AF_KIT_OUT=/tmp/out jupyter nbconvert --to notebook --execute --output-dir /tmp/done"
    container.run("sh", "-c", f"{run} af-kit/notebooks/01-dimuon-exploration.ipynb", timeout_s=300)
    figures = container.run("ls", "/tmp/out/dimuon-exploration/plots").split()
    assert "mass.png" in figures
    assert "/tmp/done/01-dimuon-exploration.ipynb" in container.run("ls", "/tmp/done/01-dimuon-exploration.ipynb")


IMPORT_ALL = """
import subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import packages_distributions
wanted = set(sys.argv[1:])
modules = {}
for module, distributions in sorted(packages_distributions().items()):
    for name in {d.lower().replace("_", "-") for d in distributions} & wanted:
        if module.isidentifier() and not module.startswith("_"):
            modules.setdefault(name, module)
assert modules.keys() == wanted, wanted - modules.keys()
def load(module):
    return module, subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True)
with ThreadPoolExecutor(2) as pool:
    failed = {module: done.stderr for module, done in pool.map(load, modules.values()) if done.returncode}
print(len(modules), failed or "")
"""


def test_every_direct_dependency_can_be_imported_in_a_fresh_interpreter(lab):
    _, container = lab
    names = {requirement.name.lower().replace("_", "-") for requirement in requirements("all")}
    printed = container.run("python", "-c", IMPORT_ALL, "af-kit", *names, timeout_s=300)
    assert printed.split() == [str(len(names) + 1)]


def test_the_environment_is_complete_and_has_jupyterhubs_version(lab):
    _, container = lab
    assert "No broken requirements" in container.run("pip", "check")
    locked = re.search(r"^jupyterhub==(\S+)", (ROOT / "docker/requirements.lock").read_text(), re.MULTILINE)
    assert container.run("jupyterhub-singleuser", "--version").strip() == locked[1]
    assert container.python("import jupyter_server_proxy, sys; print(sys.version_info[:2])").strip() == "(3, 11)"


def test_a_terminal_has_the_same_programs(lab):
    _, container = lab
    for shell in ("-c", "-lc"):  # a login shell sets its own PATH
        assert container.run("bash", shell, "command -v python").strip() == "/opt/af-kit/bin/python"


def test_a_users_packages_go_to_the_home_and_do_not_replace_the_images(lab):
    _, container = lab
    make_wheel = (
        "import zipfile\n"
        "with zipfile.ZipFile('/tmp/mine-1-py3-none-any.whl', 'w') as wheel:\n"
        "    wheel.writestr('mine.py', 'x = 1')\n"
        "    wheel.writestr('numpy/__init__.py', '__version__ = None')\n"
        "    wheel.writestr('mine-1.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: mine\\nVersion: 1\\n')\n"
        "    about = 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'\n"
        "    wheel.writestr('mine-1.dist-info/WHEEL', about)\n"
        "    wheel.writestr('mine-1.dist-info/RECORD', '')\n"
    )
    container.python(make_wheel)
    container.run("pip", "install", "--no-index", "/tmp/mine-1-py3-none-any.whl")
    path, version = container.python("import mine, numpy; print(mine.__file__, numpy.__version__)").split()
    assert path == "/home/jovyan/.local/lib/python3.11/site-packages/mine.py"
    assert version != "None"


# -------------------------------------------------------------------------------------------------------------- users


@pytest.mark.parametrize(
    ("flags", "home"),
    [
        ((), "/home/jovyan"),
        (("--user", "12345:100"), "/home/jovyan"),
        (("--read-only", "--tmpfs", "/tmp", "--user", "12345"), "/tmp/home-"),
        (
            ("--read-only", "--user", "12345", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            "/dev/shm/home-",
        ),
    ],
    ids=["defaults", "a hub's uid", "read-only and any uid", "shared memory only"],
)
def test_it_becomes_healthy_as_any_user(docker, flags, home):
    with container(docker, flags=flags) as notebook:
        notebook.wait_until_healthy()
        folder = re.search(r"notebooks from local directory: (\S+)", notebook.log)[1]
        assert folder.startswith(home)
        assert "01-dimuon-exploration.ipynb" in notebook.run("ls", f"{folder}/af-kit/notebooks")


def test_an_analysis_runs_read_only_as_any_user(docker):
    script = (
        "cd && af-kit simulate dimuon --events 2000 --files 2 --seed 1 --out x >&2"
        " && af-kit run dimuon x/*.root --n-workers 2 --out y >&2 && cat y/report.json"
    )
    flags = ("--read-only", "--tmpfs", "/tmp", "--user", "12345")
    entries = json.loads(once(docker, "bash", "-c", script, flags=flags))["entries"]
    assert (entries["processed"], entries["failed"]) == (2000, 0)


def test_root_is_refused_unless_the_container_is_rootless(docker):
    with container(docker, flags=("--user", "0")) as refused:
        wait_until(lambda: refused.inspect("{{.State.Status}}") == "exited", "The container does not end", within_s=60)
        assert "Running as root is not recommended" in refused.log
    # The container's user is root of a separate user namespace here, as with rootless Docker or Podman.
    flags = ("--security-opt", "seccomp=unconfined", "--entrypoint", "unshare")
    start = ("--user", "--map-root-user", "af-start", "jupyter", "lab", "--ip=127.0.0.1", "--no-browser")
    with container(docker, *start, flags=flags) as rootless:
        rootless.wait_until_healthy()
        assert "Running as root" not in rootless.log


def test_the_health_check_detects_a_stopped_server(docker):
    with container(docker, "jupyter", "lab", "--ip=0.0.0.0", "--port=9999", "--no-browser") as notebook:
        notebook.wait_until_healthy()
        notebook.run("pkill", "-STOP", "-f", "jupyter-lab")
        assert notebook.docker.run("exec", notebook.name, "af-healthy", check=False).returncode == 1


# --------------------------------------------------------------------------------------------------------- first start


def test_the_examples_are_copied_once_and_overwrite_nothing(docker):
    volume = f"af-kit-test-{uuid.uuid4().hex[:8]}"
    flags = ("--volume", f"{volume}:/home/jovyan")

    def start(command: str) -> str:
        return once(docker, "sh", "-c", f"af-start jupyter --version >/dev/null && cd af-kit && {command}", flags=flags)

    try:
        changed, deleted = "notebooks/00-start-here.ipynb", "notebooks/01-dimuon-exploration.ipynb"
        first = start(f"find . -type f && echo mine > {changed} && rm {deleted}")
        shipped = {f"./notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}
        assert shipped | {"./filesets/dimuon.yaml"} <= set(first.split())
        again = start(f"cat {changed} && ls notebooks")
        assert again.startswith("mine\n")
        assert Path(deleted).name not in again
        newer = start("rm ~/.local/share/af-kit/examples-*") + start(f"cat {changed} && ls notebooks")
        assert newer.startswith("mine\n")
        assert Path(deleted).name in newer  # a new version copies its examples
    finally:
        docker.run("volume", "rm", volume)


# ------------------------------------------------------------------------------------------------ scheduler and workers

ON_THE_WORKER = """
import os
from distributed import Client

def inspect():
    import sys
    names = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX", "OMP_NUM_THREADS")
    preloaded = "dask-scratch-space" in os.environ.get("XrdSecGSIUSERPROXY", "")
    return [os.environ.get(name) for name in names], "uproot" in sys.modules, preloaded, "X509_USER_PROXY" in os.environ

with Client("tcp://scheduler:8786", timeout=30) as client:
    client.wait_for_workers(2, timeout=60)
    client.get_versions(check=True)
    answers = client.run(inspect)
    assert len(answers) == 2, answers
    print(client.submit(lambda x: x + 1, 41).result(30), *{str(answer) for answer in answers.values()}, sep="\\n")
"""


def test_scheduler_and_workers_run_a_task_in_three_containers(docker):
    network = f"af-kit-test-{uuid.uuid4().hex[:8]}"
    docker.run("network", "create", "--internal", network)
    try:
        on = ("--network", network)
        with container(docker, "dask", "scheduler", flags=(*on, "--network-alias", "scheduler")) as scheduler:
            scheduler.wait_until_healthy()
            plain = ("dask", "worker", "tcp://scheduler:8786", "--nthreads", "1", "--memory-limit", "1GiB")
            kits = ("af-kit", "worker", "tcp://scheduler:8786")
            with container(docker, *plain, flags=on) as first, container(docker, *kits, flags=on) as second:
                printed = scheduler.python(ON_THE_WORKER).splitlines()
                assert printed == ["42", "(['33554432', '536870912', '1', '1'], True, True, False)"], printed
                for worker in (first, second):
                    worker.wait_until_healthy()
    finally:
        docker.run("network", "rm", network)


# ------------------------------------------------------------------------------------------------------------ the grid


def test_voms_proxy_init_has_the_servers_of_the_vos(lab):
    _, container = lab
    assert "voms-proxy-init" in container.run("voms-proxy-init", "--version")
    for vo in ("alice", "atlas", "cms", "lhcb"):
        known = container.run("sh", "-c", f"cat /etc/vomses/{vo}-*").split('"')[1::2]
        assert (known[0], known[2]) == (vo, "443")
        (lsc,) = container.run("sh", "-c", f"ls /etc/grid-security/vomsdir/{vo}/*").split()
        assert lsc.endswith(f"/{known[1]}.lsc")
        assert container.run("cat", lsc).splitlines()[0] == known[3]


MAKE_A_USER = """
set -e
mkdir -p .globus /tmp/authorities
cd .globus
openssl req -x509 -newkey rsa:2048 -nodes -subj /DC=test/CN=authority -keyout ca.key -out ca.pem
openssl req -newkey rsa:2048 -nodes -subj /DC=test/CN=alice -keyout userkey.pem -out request
printf 'subjectKeyIdentifier=hash\nbasicConstraints=critical,CA:FALSE\n' > extensions
openssl x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -extfile extensions -out usercert.pem
chmod 400 userkey.pem
cp ca.pem /tmp/authorities/$(openssl x509 -hash -noout -in ca.pem).0
"""


def test_a_proxy_goes_to_the_home_and_the_kit_finds_it(docker):
    flags = ("--network", "none", "--env", "X509_CERT_DIR=/tmp/authorities")
    with container(docker, "sleep", "600", flags=flags) as image:
        variables = image.inspect("{{json .Config.Env}}")
        assert "X509_USER_PROXY" not in variables  # it depends on the home, so it is set at the start
        image.run("sh", "-c", MAKE_A_USER)
        image.run("af-start", "voms-proxy-init")
        assert image.run("stat", "-c", "%a", "/home/jovyan/.globus/x509up").strip() == "600"
        about = image.run(
            "af-start", "python", "-c", "from af_kit.credentials import x509; print(x509.read_proxy()[1])"
        )
        assert "/DC=test/CN=alice" in about
        # The VO's server cannot be reached here, but the message names it.
        asked = docker.run("exec", image.name, "af-start", "voms-proxy-init", "--voms", "cms", check=False)
        assert "voms-cms-auth.cern.ch:443" in asked.stdout + asked.stderr


# ------------------------------------------------------------------------------------------------------------ content


def test_labels_user_and_size(docker):
    image = json.loads(docker.run("image", "inspect", "af-kit").stdout)[0]
    labels = {
        name.removeprefix("org.opencontainers.image."): value for name, value in image["Config"]["Labels"].items()
    }
    assert labels["title"] == "af-kit"
    assert labels["version"] == af_kit.__version__
    assert labels["base.name"] == re.search(r"^ARG BASE=(\S+)", (ROOT / "docker/Dockerfile").read_text(), re.M)[1]
    assert image["Config"]["User"] == "1000:100"
    assert image["Size"] / 1e9 < LIMIT_GB


def test_the_image_has_nothing_of_this_machine(docker, canary, tmp_path):
    public = "cat /usr/share/ca-certificates/mozilla/* $(find /opt /usr/lib/python3* -name cacert.pem)"
    known = set(once(docker, "sh", "-c", public).split())
    machine = certificates()
    foreign = {line for line in machine.read_text().split() if len(line) == 64} - known if machine else set()
    lines = {CANARY, *(line for line in canary[1:] if len(line) == 64), *foreign}
    expected = "jovyan:x:1000:100"  # shows that the search works
    patterns = tmp_path / "patterns"
    patterns.write_text("\n".join([expected, *lines]) + "\n")
    # All files of all layers, where the daemon keeps them, also those that a later layer deletes or replaces
    store = json.loads(docker.run("image", "inspect", "--format", "{{json .GraphDriver.Data}}", "af-kit").stdout)
    layers = [*store.get("LowerDir", "").split(":"), store.get("UpperDir"), store.get("Dir")]
    script = ["grep", "-raohF", f"--file={patterns}", *filter(None, layers)]
    plain = {**os.environ, "LC_ALL": "C"}
    found = subprocess.run(script, capture_output=True, text=True, check=True, timeout=280, env=plain).stdout
    assert set(found.split()) == {expected}
    history = docker.run("history", "--no-trunc", "af-kit").stdout
    assert not re.search(r"(?i)https?_proxy=|index-url|trusted-host", history)
    environment = json.loads(docker.run("image", "inspect", "af-kit").stdout)[0]["Config"]["Env"]
    assert not [line for line in environment if re.match(r"(?i)pip_|ssl_|\w*_proxy=|requests_", line)]
