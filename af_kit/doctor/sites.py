"""Check what the site offers: batch systems, a gateway, a hub."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator

import dask.config

from af_kit.doctor.configuration import setting
from af_kit.doctor.findings import Finding, ok, problem, warning
from af_kit.errors import AfKitError

__all__ = ["check_batch", "check_gateway", "check_hub"]

# Commands of each batch system, and one that its daemons answer even if the user has no jobs.
_BATCH = {
    "slurm": (("sbatch", "squeue", "scancel"), ("squeue", "--noheader", "--me")),
    "htcondor": (("condor_submit", "condor_q", "condor_rm"), ("condor_q", "-totals")),
}


def check_batch(within_s: float) -> Iterator[Finding]:
    """Check the commands of batch systems, and that their daemons answer."""
    backend = setting("cluster.backend")
    found_any = False
    for name, (commands, question) in _BATCH.items():
        present = [command for command in commands if shutil.which(command)]
        if not present:
            if backend == name:
                advice = "Use a submit node or an image that has them, or change af_kit.cluster.backend."
                yield problem(
                    name, f"it is the configured backend, but none of {', '.join(commands)} is on PATH", advice
                )
                found_any = True
            continue
        found_any = True
        absent = sorted(set(commands) - set(present))
        if absent:
            yield warning(name, f"{', '.join(absent)} is missing", "Install the rest of its packages.")
        if question[0] in present:
            reason = _failure(question, within_s)
            if not reason:
                yield ok(name, f"`{' '.join(question)}` answers")
            else:
                severity = problem if backend == name else warning  # its commands may be installed without being used
                advice = "Its daemons may be down, or this machine may not be a submit node: ask the site's admin."
                yield severity(name, reason, advice)
    if not found_any:
        yield ok("batch systems", "no commands of Slurm or HTCondor on PATH")


def _failure(question: tuple[str, ...], within_s: float) -> str:
    """Return why a batch system's command failed, or an empty string if it succeeded."""
    command = " ".join(question)
    try:
        done = subprocess.run(question, capture_output=True, text=True, timeout=within_s, check=False)
    except subprocess.TimeoutExpired:
        return f"`{command}` does not answer within {within_s:g} s"
    except OSError as error:
        return f"`{command}` cannot be run: {error.strerror}"
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return f"`{command}` says: {lines[-1] if lines else f'status {done.returncode}'}" if done.returncode else ""


def check_gateway() -> Iterator[Finding]:
    """Check the gateway of Dask's configuration: it answers and accepts the user; list what it offers."""
    address = dask.config.get("gateway.address", default=None)
    if not address:
        if setting("cluster.backend") == "gateway":
            yield problem(
                "gateway",
                "it is the configured backend, but it has no address",
                "Set gateway.address in Dask's configuration.",
            )
        else:
            yield ok("gateway", "none is configured (gateway.address)")
        return
    from af_kit.cluster.gateway.backend import survey

    try:
        seen = survey()
    except AfKitError as error:
        yield problem("gateway", str(error), "Correct gateway.* in Dask's configuration, or ask the gateway's admin.")
    else:
        yield ok("gateway", seen)


def check_hub() -> Iterator[Finding]:
    """Check the variables that a hub sets for a user's server."""
    if "JUPYTERHUB_SERVICE_PREFIX" not in os.environ and "JUPYTERHUB_API_TOKEN" not in os.environ:
        yield ok("JupyterHub", "this session does not run on a hub")
        return
    needed = ("JUPYTERHUB_SERVICE_PREFIX", "JUPYTERHUB_USER", "JUPYTERHUB_API_URL", "JUPYTERHUB_API_TOKEN")
    absent = [name for name in needed if not os.environ.get(name)]
    if absent:
        advice = "This terminal or kernel may have started without the server's environment: start it from JupyterLab."
        yield warning("JupyterHub", f"{', '.join(absent)} is not set", advice)
    else:
        yield ok("JupyterHub", f"user {os.environ['JUPYTERHUB_USER']}, {os.environ['JUPYTERHUB_SERVICE_PREFIX']}")
    if importlib.util.find_spec("jupyter_server_proxy") is None:
        yield warning("dashboards on the hub", "jupyter-server-proxy is missing", "pip install jupyter-server-proxy")
    image = os.environ.get("JUPYTER_IMAGE_SPEC") or os.environ.get("JUPYTER_IMAGE")
    yield ok("image", image or "the hub does not name the image of this server")
