"""A preload module for workers: where XRootD looks for the proxy is settled before there is a proxy.

XRootD reads its variables once in a process. Somebody who forgets the proxy, sees the run fail and then sends it would
find that the workers go on looking where it was not. So a worker that has no proxy of its own points from its start to
the file that `send_proxy` would write, and to a name of its own for the authorities' certificates.
"""

from __future__ import annotations

import os
from typing import Any

from af_kit.credentials import variables
from af_kit.credentials.ca_certificates import find_authorities, forget, point_to
from af_kit.credentials.secret import file_of
from af_kit.credentials.x509 import default_proxy
from af_kit.plugins.proxy import PROXY_FILE

__all__ = ["dask_setup", "dask_teardown"]


def dask_setup(worker: Any) -> None:
    """Called by Dask as the worker starts."""
    if any(os.environ.get(name) for name in ("X509_USER_PROXY", "XrdSecGSIUSERPROXY")) or default_proxy().exists():
        return
    path = str(file_of(worker.local_directory, PROXY_FILE))
    kind, folder = find_authorities() or ("", None)
    own = point_to(folder if kind == "X509_CERT_DIR" else None, worker.local_directory)
    # Not X509_USER_PROXY: XRootD's TLS gives up where that names a file which is not there, and tokens need TLS.
    variables.set_for(path, {"XrdSecGSIUSERPROXY": path, "X509_CERT_DIR": own})


def dask_teardown(worker: Any) -> None:
    """Called by Dask as the worker ends."""
    variables.put_back(str(file_of(worker.local_directory, PROXY_FILE)))
    forget(worker.local_directory)
