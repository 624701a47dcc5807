from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import numpy as np
import pytest

from af_kit.data.jit import jit


def total(values):
    result = 0.0
    for value in values:
        result += 1 / value
    return result


def test_a_kernel_keeps_its_name_and_divides_as_numpy_does():
    kernel = jit(total)
    assert kernel.__name__ == "total"
    assert kernel(np.array([1.0, 2.0, 4.0])) == 1.75
    assert kernel(np.array([0.0])) == np.inf


def test_threads_share_one_compilation():
    kernel = jit(total)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(kernel, [np.ones(10)] * 8)) == {10.0}


@pytest.mark.parametrize("error", [OSError(errno.EDQUOT, "Disk quota exceeded"), EOFError("a damaged file")])
def test_a_broken_cache_is_not_an_error(monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", fail)
    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.load", lambda *_: None)
    kernel = jit(total)
    assert kernel(np.array([1.0, 2.0])) == 1.5
    assert kernel(np.array([1.0, 2.0])) == 1.5


def test_a_kernel_is_pickled_as_its_function():
    kernel = jit(total)
    before = cloudpickle.dumps(kernel)
    kernel(np.ones(3))
    assert cloudpickle.dumps(kernel) == before
    assert cloudpickle.loads(before)(np.ones(3)) == 3


def test_an_error_of_the_kernel_is_raised():
    from numba.core.errors import TypingError

    with pytest.raises(TypingError):
        jit(total)("text")


def test_no_writable_cache_directory(tmp_path):
    """As in a container with a read-only root: each candidate for the cache directory is a file."""
    (tmp_path / "kernels.py").write_text("def double(x):\n    return 2 * x\n")
    (tmp_path / "__pycache__").write_text("")
    (tmp_path / "home").write_text("")
    code = "from af_kit.data.jit import jit; from kernels import double; print(jit(double)(21))"
    places = {"HOME": tmp_path / "home", "XDG_CACHE_HOME": tmp_path / "home", "NUMBA_CACHE_DIR": tmp_path / "home"}
    environment = {**os.environ, **{name: str(place) for name, place in places.items()}, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "42\n", done.stderr
