import pytest
import uproot
from bits import whole, write_nano

from af_kit.data.reading.read import read


@pytest.fixture
def path(tmp_path):
    return write_nano(tmp_path / "nano.root", 200)


@pytest.fixture
def nano(tmp_path):
    return whole(write_nano(tmp_path / "nano.root", 300, clusters=3))


@pytest.fixture
def events(path):
    return read(whole(path))


@pytest.fixture
def plain(tmp_path):
    """The events of `events` by plain uproot, all branches flat."""
    write_nano(tmp_path / "plain.root", 200)
    with uproot.open(tmp_path / "plain.root") as file:
        return file["Events"].arrays()
