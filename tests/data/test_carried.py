"""Where a local file is opened: its own path first, then the copy that was brought last; errors name the path."""

import pytest
from bits import whole, write_nano

from af_kit.data.reading.read import read
from af_kit.data.transport import copies
from af_kit.errors import ReadError
from af_kit.run.plan import plan


@pytest.fixture(autouse=True)
def _nothing_stays():
    yield
    copies._copies.clear()


@pytest.fixture
def moved(tmp_path):
    """A chunk of a file that is at its path no more, and where it is now."""
    path = write_nano(tmp_path / "here.root", 50)
    chunk = whole(path)
    copy = path.rename(tmp_path / "copy")
    return chunk, path, copy


def test_a_copy_is_read_by_the_path_that_the_user_knows(moved):
    chunk, path, copy = moved
    with pytest.raises(ReadError, match=r"here\.root does not exist"):
        plan(path)
    copies.note(str(path), "one", str(copy))
    assert read(plan(path)[0]).metadata["file"] == str(path)
    assert len(read(chunk).Muon.pt) == 50
    assert plan(f"file://{path}")[0].uuid == chunk.uuid


def test_a_file_that_is_there_comes_before_a_copy(moved):
    _, path, copy = moved
    copies.note(str(path), "one", str(copy))
    write_nano(path, 70)
    assert plan(path)[0].entry_stop == 70
    path.unlink()
    assert plan(path)[0].entry_stop == 50


def test_the_last_copy_counts_and_each_owner_forgets_its_own(tmp_path):
    path = str(tmp_path / "none")
    copies.note(path, "one", "/first")
    copies.note(path, "two", "/second")
    assert copies.place(path) == "/second"
    copies.note(path, "one", "/third")
    assert copies.place(path) == "/third"
    copies.forget(path, "one")
    assert copies.place(path) == "/second"
    copies.forget(path, "two")
    copies.forget(path, "two")
    assert copies.place(path) == path


def test_errors_name_the_path_and_not_the_copy(moved):
    chunk, path, copy = moved
    copies.note(str(path), "one", str(copy))
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
