"""The environment of the benchmarks: the kit's environment plus the peers' packages.

`.venv-bench` has only the packages of benchmarks/requirements.lock; all others are those of the environment that
creates it (`.venv`). So all peers use the same uproot, awkward, coffea and distributed, and it takes 1.2 GB, not 2.5.
"""

import hashlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv-bench"
LOCK = ROOT / "benchmarks" / "requirements.lock"


def ensure() -> Path:
    """Create the environment if it is missing or older than its lock, and return its interpreter.

    If the packages cannot be installed (no network, no wheel for this platform), print a warning and return the running
    interpreter: the peers that need the packages are then listed as not installed.
    """
    python = FOLDER / "bin" / "python"
    stamp = FOLDER / "made-from"
    key = hashlib.sha256(LOCK.read_bytes() + sys.prefix.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == key:
        return python
    print(f"creating {FOLDER} (once; downloads about 700 MB)", file=sys.stderr)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER], check=True)
        _add_kit_environment(python)
        _install(python)
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"the peers' packages cannot be installed ({error}); continuing without them", file=sys.stderr)
        return Path(sys.executable)
    stamp.write_text(key)
    return python


def _install(python: Path) -> None:
    """Install the lock with uv, which takes an eighth of pip's time, or with pip, which knows pip's configuration."""
    what = ["--quiet", "--require-hashes", "--no-deps", "--requirement", LOCK]
    uv = Path(sys.prefix, "bin", "uv")
    if not uv.exists() or subprocess.run([uv, "pip", "install", "--python", python, *what], check=False).returncode:
        subprocess.run([python, "-m", "pip", "install", *what], check=True)


def _add_kit_environment(python: Path) -> None:
    # addsitedir, not a plain path, because the kit is installed editable, with a .pth file
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    kit = sysconfig.get_path("purelib")
    Path(site, "kit.pth").write_text(f"import site; site.addsitedir({kit!r})\n")


def enter() -> None:
    """Run the calling script again with the benchmarks' interpreter, unless it is running with it already."""
    if Path(sys.prefix).resolve() == FOLDER.resolve():
        return
    python = ensure()
    if python != Path(sys.executable):
        os.execv(python, [str(python), *sys.orig_argv[1:]])


if __name__ == "__main__":
    print(ensure())
