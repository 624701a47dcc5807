"""A file is identified by its content: files made separately may share their uuid, their length and their dates."""

import uuid

import numpy as np
import pytest
import uproot
from bits import write_tree
from damage import overwrite

from af_kit import process
from af_kit.data.reading.identity import identify
from af_kit.data.reading.read import read
from af_kit.data.transport.ranges import samples
from af_kit.errors import ReadError
from af_kit.run.plan import plan
from af_kit.run.skims import encode, undated
from af_kit.run.stage_out import stage_out, write_manifest

SHARED = uuid.UUID(int=7)


def twin(path, values):
    """Write a file whose twins differ in nothing but the values of their branches."""
    written = path.with_name("written.root")  # a file holds its own name
    with uproot.recreate(written, compression=None, uuid_function=lambda: SHARED) as file:
        file.mktree("Events", {"same": "int64", "x": "int64"})
        file["Events"].extend({"same": np.zeros(100, np.int64), "x": np.asarray(values)})
    path.write_bytes(undated(written.read_bytes()))
    written.unlink()
    return path


@pytest.fixture
def twins(tmp_path):
    one, two = twin(tmp_path / "one.root", range(100)), twin(tmp_path / "two.root", range(100, 200))
    assert len(one.read_bytes()) == len(two.read_bytes())
    assert one.read_bytes()[:512] == two.read_bytes()[:512]
    return one, two


def total(events):
    return {"n": len(events), "sum": int(np.sum(events.x))}


def test_twins_are_two_files(twins):
    result = process(total, {"d": [str(path) for path in twins]})
    assert dict(result) == {"n": 200, "sum": 19900}


def test_a_checkpoint_does_not_answer_for_a_twin(twins, tmp_path):
    one, two = twins
    path = tmp_path / "data.root"
    sums = []
    for source in (one, two, one):
        path.write_bytes(source.read_bytes())
        sums.append(process(total, str(path), checkpoint=tmp_path / "checkpoint")["sum"])
    assert sums == [4950, 14950, 4950]


def test_a_layout_is_not_reused_for_a_twin(twins, tmp_path):
    path = tmp_path / "data.root"
    digests = []
    for source in twins:
        path.write_bytes(source.read_bytes())
        (chunk,) = plan(str(path))
        digests.append(chunk.digest)
        assert read(chunk).x[0] == (0 if source is twins[0] else 100)
    assert digests[0] != digests[1]


@pytest.mark.parametrize("branch", ["x", "y"])  # read by the fast path, and by uproot
def test_a_replica_must_have_the_content_that_was_planned(tmp_path, branch):
    """The first replica is lost after the plan; the second has the same uuid and length, but other numbers."""
    one = write_tree(
        tmp_path / "one.root", {"x": np.arange(900), "y": np.arange(1800).reshape(900, 2)}, compression=None
    )
    two = tmp_path / "two.root"
    two.write_bytes(one.read_bytes())
    (chunk,) = plan({"d": [{"replicas": [str(one), str(two)]}]})
    assert read(chunk, replica=1)[branch][8] is not None
    at = two.read_bytes().index(np.arange(900, dtype=">i8").tobytes())
    overwrite(two, at, (np.arange(900, dtype=">i8") + 1).tobytes())
    with pytest.raises(ReadError, match=r"two\.root is not the file that was planned \(its content differs from .*one"):
        _ = read(chunk, replica=1)[branch].to_list()
    one.unlink()
    with pytest.raises(ReadError, match=r"one\.root does not exist|No such file"):
        _ = read(chunk)[branch].to_list()


def test_skims_of_twins_in_one_folder(tmp_path):
    """Their names, too, follow the content."""
    files = []
    for i, values in enumerate((range(100), range(100, 200))):
        folder = tmp_path / f"job{i}"
        folder.mkdir()
        files.append(str(twin(folder / "skim.root", values)))

    def skim(events):
        return {"skim": stage_out({"x": events.x}, tmp_path / "out", events, format="root")}

    manifest = write_manifest(process(skim, {"d": files})["skim"], tmp_path / "out")
    assert len(set(manifest.files)) == 2
    assert process(total, manifest.fileset())["sum"] == 19900


def test_the_identifier_of_a_skim_follows_its_content(tmp_path):
    contents = [encode({"x": np.arange(n)}, "root", "t", seed="same")[1] for n in (3, 3, 4)]
    assert contents[0] == contents[1]
    found = set()
    for i, content in enumerate(contents):
        (tmp_path / f"{i}.root").write_bytes(content)
        found.add(str(uproot.open(tmp_path / f"{i}.root").file.uuid))
    assert len(found) == 2


def test_a_large_file_is_read_in_pieces():
    """A few pieces, which include both ends, where the header and the list of baskets are."""
    asked = []

    def reader(flipped):
        def pieces(ranges):
            asked.extend(ranges)
            return [bytes(int(start <= flipped < stop)) + bytes(stop - start) for start, stop in ranges]

        return pieces

    end = 1 << 40
    first = identify(reader(-1), samples(end))
    assert sum(stop - start for start, stop in asked) < 30_000
    assert all(0 <= start < stop <= end for start, stop in asked)
    for flipped in (0, 511, end - 1, end - 8_000, asked[3][0]):
        assert identify(reader(flipped), samples(end)).digest != first.digest
    assert identify(reader(-1), samples(end)) == first
