"""The environment of the benchmarks: the kit's own, with the peers' packages laid over it.

`.venv-bench` holds only what benchmarks/requirements.lock names; everything else is found in the environment that makes
it (`.venv`). One version of uproot, awkward, coffea and distributed for everybody, and 0.7 GB rather than 2.
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
    """Make the environment if it is missing or older than its lock; give its interpreter.

    Falls back to the running interpreter, with a warning, when the packages cannot be installed (no network, no wheel
    for this platform): the peers that need them are then listed as not installed.
    """
    python = FOLDER / "bin" / "python"
    stamp = FOLDER / "made-from"
    key = hashlib.sha256(LOCK.read_bytes() + sys.prefix.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == key:
        return python
    print(f"making {FOLDER} (once; about 250 MB to download)", file=sys.stderr)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER], check=True)
        _lay_over(python)
        install = [python, "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "-r", LOCK]
        subprocess.run(install, check=True)
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"the peers' packages were not installed ({error}); going on without them", file=sys.stderr)
        return Path(sys.executable)
    stamp.write_text(key)
    return python


def _lay_over(python: Path) -> None:
    # addsitedir rather than a plain path line: the kit is installed editable, by a .pth file of its own
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    below = sysconfig.get_path("purelib")
    Path(site, "kit.pth").write_text(f"import site; site.addsitedir({below!r})\n")


def enter() -> None:
    """Run the calling script again with the benchmarks' interpreter, unless it already is."""
    if Path(sys.prefix).resolve() == FOLDER.resolve():
        return
    python = ensure()
    if python != Path(sys.executable):
        os.execv(python, [str(python), *sys.orig_argv[1:]])


if __name__ == "__main__":
    print(ensure())
