"""A local file is opened at its own path, else as the copy registered last; errors name the original path."""

import pytest
from bits import whole, write_nano

from af_kit.data.reading.read import read
from af_kit.data.transport import uploaded_copies as copies
from af_kit.errors import ReadError
from af_kit.run.plan import plan


@pytest.fixture(autouse=True)
def _no_copies_remain():
    yield
    copies._copies.clear()


@pytest.fixture
def moved(tmp_path):
    """A chunk of a file that has been moved, its old path, and its new one."""
    path = write_nano(tmp_path / "here.root", 50)
    chunk = whole(path)
    copy = path.rename(tmp_path / "copy")
    return chunk, path, copy


def test_a_copy_is_read_by_the_original_path(moved):
    chunk, path, copy = moved
    with pytest.raises(ReadError, match=r"here\.root does not exist"):
        plan(path)
    copies.register(str(path), "one", str(copy))
    assert read(plan(path)[0]).metadata["file"] == str(path)
    assert len(read(chunk).Muon.pt) == 50
    assert plan(f"file://{path}")[0].uuid == chunk.uuid


def test_an_existing_file_takes_precedence_over_a_copy(moved):
    _, path, copy = moved
    copies.register(str(path), "one", str(copy))
    write_nano(path, 70)
    assert plan(path)[0].entry_stop == 70
    path.unlink()
    assert plan(path)[0].entry_stop == 50


def test_the_last_copy_is_used_and_owners_unregister_their_own(tmp_path):
    path = str(tmp_path / "none")
    copies.register(path, "one", "/first")
    copies.register(path, "two", "/second")
    assert copies.path_to_open(path) == "/second"
    copies.register(path, "one", "/third")
    assert copies.path_to_open(path) == "/third"
    copies.unregister(path, "one")
    assert copies.path_to_open(path) == "/second"
    copies.unregister(path, "two")
    copies.unregister(path, "two")
    assert copies.path_to_open(path) == path


def test_errors_name_the_original_path(moved):
    chunk, path, copy = moved
    copies.register(str(path), "one", str(copy))
    size = copy.stat().st_size
    with copy.open("r+b") as file:
        file.truncate(size // 2)
    for call in (lambda: plan(path), lambda: read(chunk).Muon.pt):
        with pytest.raises(ReadError, match=r"here\.root") as caught:
            call()
        assert str(copy) not in str(caught.value)
    copy.unlink()
    for call in (lambda: plan(path), lambda: read(chunk).Muon.pt):
        with pytest.raises(ReadError, match=r"here\.root does not exist"):
            call()
