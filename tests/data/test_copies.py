"""Identical copies in a fileset are refused when they are planned."""

import dataclasses
import shutil

import numpy as np
import pytest
from bits import write_tree
from damage import overwrite

from af_kit.data import copies
from af_kit.data.fileset.load import load_fileset
from af_kit.data.reading.describe import describe
from af_kit.errors import FilesetError
from af_kit.run.plan import plan


@pytest.fixture
def pair(tmp_path):
    one = write_tree(tmp_path / "one.root", {"x": np.arange(5000.0)}, compression=None)
    return one, shutil.copy(one, tmp_path / "two.root")


@pytest.mark.parametrize("limit", [1 << 30, 0])  # compared as a whole, and by samples
def test_a_copy_within_and_across_datasets(pair, limit, monkeypatch):
    monkeypatch.setattr(copies, "_WHOLE", limit)
    one, two = map(str, pair)
    with pytest.raises(FilesetError, match=r"two\.root is an identical copy of .*one\.root \(dataset 'd'\).*replicas"):
        plan({"d": [one, two]})
    with pytest.raises(FilesetError, match=r"datasets 'd' and 'e'.*datasets=\[...\]"):
        plan({"d": [one], "e": [two]})
    assert len(plan({"d": [one], "e": [two]}, datasets="e")) == 1
    assert len(plan({"d": [{"replicas": [one, two]}]})) == 1


def test_files_of_one_identifier_and_size_with_other_content_are_two(pair):
    """Skims of one source may share its identifier."""
    one, two = pair
    overwrite(two, two.stat().st_size // 2, lambda old: old ^ 1)
    assert len(plan({"d": [str(one), str(two)]})) == 2


def test_files_that_only_the_workers_can_read(pair):
    one, two = map(str, pair)
    (dataset,) = load_fileset({"d": [one, two]}).values()
    layout = describe(one, "Events")
    away = [dataclasses.replace(file, replicas=(f"/gone/{i}.root",)) for i, file in enumerate(dataset.files)]
    with pytest.raises(FilesetError, match="identical copy"):
        copies.refuse_copies([(dataset, file) for file in away], [layout, layout.packed()])
