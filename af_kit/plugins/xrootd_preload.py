"""Worker preload module: fix XRootD's credential paths before there is a proxy.

XRootD reads its variables once per process. If a run fails because the proxy was forgotten, and the user sends it
then, the workers would keep using the old path. A worker without a proxy therefore starts with XRootD pointing at the
file that `send_proxy` would write, and at a link for the CA certificates.
"""

from __future__ import annotations

import os
from typing import Any

from af_kit.credentials import environment_variables
from af_kit.credentials.ca_certificates import find_ca_certificates, link_ca_folder, remove_ca_link
from af_kit.credentials.secret import secret_path
from af_kit.credentials.x509 import default_proxy
from af_kit.plugins.proxy import PROXY_FILE

__all__ = ["dask_setup", "dask_teardown"]


def dask_setup(worker: Any) -> None:
    """Set the paths when Dask starts the worker."""
    if any(os.environ.get(name) for name in ("X509_USER_PROXY", "XrdSecGSIUSERPROXY")) or default_proxy().exists():
        return
    path = str(secret_path(worker.local_directory, PROXY_FILE))
    variable, folder = find_ca_certificates() or ("", None)
    link = link_ca_folder(folder if variable == "X509_CERT_DIR" else None, worker.local_directory)
    # Not X509_USER_PROXY: XRootD's TLS, which tokens need, fails if that names a missing file.
    environment_variables.set_for(path, {"XrdSecGSIUSERPROXY": path, "X509_CERT_DIR": link})


def dask_teardown(worker: Any) -> None:
    """Restore the environment when the worker ends."""
    environment_variables.restore(str(secret_path(worker.local_directory, PROXY_FILE)))
    remove_ca_link(worker.local_directory)
