"""A hub in the cluster whose users get what the chart's values say.

A site uses the hub of zero-to-jupyterhub. Without that chart, this configuration reads the same values, as far as they
matter to users.
"""

import json
import os
from pathlib import Path

c = get_config()  # noqa: F821 - defined by JupyterHub
values = json.loads(Path(os.environ["AF_KIT_HUB_VALUES"]).read_text())

c.JupyterHub.bind_url = "http://:8000"
c.JupyterHub.hub_bind_url = "http://:8081"
c.JupyterHub.hub_connect_url = f"http://{os.environ['AF_KIT_HUB_SERVICE']}:8081"
c.JupyterHub.db_url = "sqlite://"  # in memory: a test's hub needs no history
c.JupyterHub.cleanup_servers = True

c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
user = values["singleuser"]


def value(path):
    """Return the value at ``a.b``; None if it is not set."""
    found = user
    for name in path.split("."):
        found = (found or {}).get(name)
    return found


for trait, path in {
    "service_account": "serviceAccountName",
    "start_timeout": "startTimeout",
    "cpu_guarantee": "cpu.guarantee",
    "cpu_limit": "cpu.limit",
    "mem_guarantee": "memory.guarantee",
    "mem_limit": "memory.limit",
    "environment": "extraEnv",
    "profile_list": "profileList",
    "default_url": "defaultUrl",
    "extra_labels": "extraLabels",
}.items():
    if (given := value(path)) is not None:
        c.KubeSpawner[trait] = given

c.KubeSpawner.image = f"{user['image']['name']}:{user['image']['tag']}"
c.KubeSpawner.image_pull_policy = "IfNotPresent"
# Defaults of zero-to-jupyterhub
c.KubeSpawner.cmd = user.get("cmd", "jupyterhub-singleuser")
c.KubeSpawner.uid, c.KubeSpawner.fs_gid = user.get("uid", 1000), user.get("fsGid", 100)

volumes, mounts = [], []
if value("storage.type") != "none":
    c.KubeSpawner.storage_pvc_ensure = True
    c.KubeSpawner.storage_capacity = value("storage.capacity")
    c.KubeSpawner.storage_access_modes = value("storage.dynamic.storageAccessModes") or ["ReadWriteOnce"]
    volumes.append({"name": "home", "persistentVolumeClaim": {"claimName": "{pvc_name}"}})
    mounts.append({"name": "home", "mountPath": value("storage.homeMountPath")})
files = user.get("extraFiles", {})
if files:
    volumes.append({"name": "files", "secret": {"secretName": os.environ["AF_KIT_HUB_FILES"]}})
    mounts += [{"name": "files", "mountPath": file["mountPath"], "subPath": name} for name, file in files.items()]
c.KubeSpawner.volumes, c.KubeSpawner.volume_mounts = volumes, mounts

for section, settings in values["hub"]["config"].items():
    c[section].update(settings)
