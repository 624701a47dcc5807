"""A Kubernetes cluster for the tests: an existing one, or a one-node cluster that a script starts.

- ``KUBECONFIG``: an existing cluster (kind, minikube, a real one). ``AF_KIT_KUBERNETES_LOAD`` is the command that
  loads an image of the local Docker daemon into it: ``kind load docker-image``, ``minikube image load``.
- ``AF_KIT_KUBERNETES``: a script that starts a cluster on this machine, with the verbs ``up`` (prints
  ``export KUBECONFIG=...``), ``load IMAGE``, ``down`` and ``logs``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from services.common import ServiceError, find_program, wait_until
from services.kubernetes.images import Images, build

__all__ = ["Kubernetes", "installed", "operator_chart"]

_OPERATOR = "dask-operator"
_CRDS = ("daskclusters", "daskworkergroups", "daskautoscalers", "daskjobs")


def installed() -> list[str]:
    """Return what a cluster needs and this machine does not have; empty if nothing is missing."""
    missing = []
    if not (os.environ.get("KUBECONFIG") or os.environ.get("AF_KIT_KUBERNETES")):
        missing.append("neither KUBECONFIG nor AF_KIT_KUBERNETES names a cluster")
    try:
        find_program("kubectl")
    except ServiceError:
        missing.append("no kubectl")
    return missing


class Kubernetes:
    """A cluster with its kubeconfig.

    Parameters
    ----------
    kubeconfig : path, optional
        By default ``$KUBECONFIG``, or that of the cluster that ``$AF_KIT_KUBERNETES up`` starts.
    """

    def __init__(self, kubeconfig: str | Path | None = None) -> None:
        self._script = os.environ.get("AF_KIT_KUBERNETES", "")
        self.started_here = False
        found = kubeconfig or os.environ.get("KUBECONFIG")
        if not found:
            found = self._up()
        self.kubeconfig = Path(found)
        self.kubectl("version")  # fails if the cluster does not answer

    def _up(self) -> str:
        if not self._script:
            raise ServiceError("There is no Kubernetes cluster. Set KUBECONFIG, or set AF_KIT_KUBERNETES to a script.")
        done = subprocess.run([self._script, "up"], capture_output=True, text=True, check=False, timeout=900)
        printed = shlex.split(done.stdout.replace(";", " "))
        found = [part.partition("=")[2] for part in printed if part.startswith("KUBECONFIG=")]
        if done.returncode or not found:
            raise ServiceError(f"{self._script} up: {done.stderr.strip() or done.stdout.strip()}")
        self.started_here = True
        return found[0]

    def stop(self) -> None:
        """Stop the cluster, if it was started here."""
        if self.started_here:
            subprocess.run([self._script, "down"], check=True, capture_output=True, timeout=120)

    # ---------------------------------------------------------------------------------------------------- kubectl

    def kubectl(self, *arguments: str, given: str | None = None, check: bool = True, timeout: float = 60) -> str:
        """Return what kubectl prints.

        Raises
        ------
        ServiceError
            It failed; the message is kubectl's. With ``check=False`` the message is returned instead.
        """
        command = self._command(*arguments)
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=timeout)
        if done.returncode and check:
            raise ServiceError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout if not done.returncode else done.stdout + done.stderr

    def _command(self, *arguments: str) -> list[str]:
        return [find_program("kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]

    def get(self, kind: str, namespace: str, **labels: str) -> list[dict[str, Any]]:
        """Return the objects of a kind."""
        selector = [f"--selector={','.join(f'{key}={value}' for key, value in labels.items())}"] if labels else []
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, f"--namespace={namespace}", "-o=json", *selector))
        items: list[dict[str, Any]] = found["items"]
        return items

    def pods_of(self, dask_cluster: str, namespace: str, component: str | None = None) -> list[dict[str, Any]]:
        """Return the pods of a Dask cluster that are not being deleted; optionally, only of one ``component``."""
        labels = {"dask.org/cluster-name": dask_cluster} | ({"dask.org/component": component} if component else {})
        return [pod for pod in self.get("pods", namespace, **labels) if "deletionTimestamp" not in pod["metadata"]]

    @contextlib.contextmanager
    def forwarded(self, target: str, port: int, namespace: str) -> Iterator[int]:
        """Forward a free port of 127.0.0.1 to a port of ``target``, such as ``service/hub``."""
        command = self._command("port-forward", f"--namespace={namespace}", target, f":{port}")
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                line = process.stdout.readline() if process.stdout else ""
                found = re.search(r"127\.0\.0\.1:(\d+)", line)
                if found is None:
                    raise ServiceError(f"{target} in {namespace} cannot be reached: {line or 'kubectl ended'}")
                yield int(found[1])
            finally:
                process.terminate()

    def apply(self, objects: Sequence[Mapping[str, Any]], namespace: str, *arguments: str, check: bool = True) -> str:
        """Create or change objects."""
        text = yaml.safe_dump_all(list(objects))
        return self.kubectl("apply", f"--namespace={namespace}", *arguments, "-f", "-", given=text, check=check)

    @contextlib.contextmanager
    def existing(self, manifest: Mapping[str, Any]) -> Iterator[None]:
        """Create an object outside of namespaces, and delete it at the end."""
        self.apply([manifest], "default")
        try:
            yield
        finally:
            self.kubectl("delete", manifest["kind"], manifest["metadata"]["name"], "--wait=false")

    @contextlib.contextmanager
    def namespace(self, **labels: str) -> Iterator[str]:
        """Create a namespace, and delete it at the end, after its Dask clusters."""
        name = f"af-kit-{secrets.token_hex(4)}"
        self.kubectl("create", "namespace", name)
        if labels:
            self.kubectl("label", "namespace", name, *(f"{key}={value}" for key, value in labels.items()))
        try:
            yield name
        finally:
            if "daskclusters" in self.kubectl("api-resources", "--api-group=kubernetes.dask.org", "-o=name"):
                # Only the operator can remove their finalizers, which would also hold the namespace.
                for kind in ("daskautoscalers", "daskclusters"):
                    self.kubectl("delete", kind, "--all", f"--namespace={name}", "--timeout=100s", timeout=120)
            self.kubectl("delete", "namespace", name, "--wait=false")

    def user(self, account: str, namespace: str, folder: Path) -> Path:
        """Write the kubeconfig of a service account."""
        token = self.kubectl("create", "token", account, f"--namespace={namespace}", "--duration=1h").strip()
        config = yaml.safe_load(self.kubeconfig.read_text())
        config["users"] = [{"name": "user", "user": {"token": token}}]
        for context in config["contexts"]:
            context["context"] |= {"user": "user", "namespace": namespace}
        path = folder / f"{account}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))
        return path

    # ----------------------------------------------------------------------------------------------------- images

    def load(self, image: str, environment: Mapping[str, str] | None = None) -> None:
        """Load an image of the local Docker daemon into the cluster."""
        command = shlex.split(os.environ.get("AF_KIT_KUBERNETES_LOAD", "")) or [self._script, "load"]
        if not command[0]:
            raise ServiceError("Set AF_KIT_KUBERNETES_LOAD to the command that loads an image into this cluster.")
        done = subprocess.run(
            [*command, image], env=environment, capture_output=True, text=True, check=False, timeout=900
        )
        if done.returncode:
            raise ServiceError(f"{' '.join(command)} {image}: {done.stderr.strip() or done.stdout.strip()}")

    def build_images(self) -> Images:
        """Build the images of a facility with `services.image`, and load them."""
        return build(self.load)

    # --------------------------------------------------------------------------------------------------- operator

    def install_operator(self, image: str) -> None:
        """Install Dask's operator, if it is not installed, with the chart from its package."""
        from helm_python import Config

        config = Config(kubeconfig_path=self.kubeconfig, namespace=_OPERATOR)
        if self.kubectl("get", "deployments", f"--namespace={_OPERATOR}", "-o=name", check=False).startswith("deploy"):
            return
        name, _, tag = image.rpartition(":")
        values = {"image": {"name": name, "tag": tag}}
        config.install(
            operator_chart(), _OPERATOR, values, namespace=_OPERATOR, create_namespace=True, timeout=120, wait="watcher"
        )

    def operator_acts(self, acts: bool) -> None:
        """Scale the operator to one pod or none."""
        (deployment,) = self.get("deployments", _OPERATOR)
        name = deployment["metadata"]["name"]
        self.kubectl("scale", f"deployment/{name}", f"--namespace={_OPERATOR}", f"--replicas={int(acts)}")
        wait_until(
            lambda: (
                sum(_is_ready(pod) for pod in self.get("pods", _OPERATOR)) == int(acts)
                and len(self.get("pods", _OPERATOR)) == int(acts)
            ),
            "The operator does not scale",
            within_s=60,
        )

    def operator_log(self, lines: int) -> str:
        """Return the end of the operator's log."""
        (deployment,) = self.get("deployments", _OPERATOR)
        name = deployment["metadata"]["name"]
        return self.kubectl("logs", f"deployment/{name}", f"--namespace={_OPERATOR}", f"--tail={lines}")

    def remove_operator(self) -> None:
        """Uninstall the operator and its resource definitions; no Dask cluster may exist."""
        from helm_python import Config

        with contextlib.suppress(Exception):
            Config(kubeconfig_path=self.kubeconfig, namespace=_OPERATOR).uninstall(_OPERATOR, timeout=60)
        names = [f"{crd}.kubernetes.dask.org" for crd in _CRDS]
        self.kubectl("delete", "crd", *names, "--ignore-not-found", "--timeout=60s", timeout=90)
        # Wait until it is deleted: the next test may install it again at once.
        self.kubectl("delete", "namespace", _OPERATOR, "--ignore-not-found", "--timeout=60s", timeout=90)


def operator_chart() -> Path:
    """Return the folder of the chart in the package dask-kubernetes."""
    import dask_kubernetes.operator

    return Path(dask_kubernetes.operator.__file__).parent / "deployment" / "helm" / "dask-kubernetes-operator"


def _is_ready(pod: Mapping[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
