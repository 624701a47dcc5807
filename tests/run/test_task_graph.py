"""Task graphs as figures: what is drawn, where, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import pandas as pd
import pytest
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.text import Annotation

from af_kit.errors import InputError
from af_kit.run.task_graph import draw_graph


def read(number):
    return number


def add(numbers):
    return sum(numbers)


def delayed_sum(chunks: int):
    return dask.delayed(add)([dask.delayed(read)(number) for number in range(chunks)])


def boxes(figure):
    """Label and place (left, bottom, right, top) of every box."""
    (axes,) = figure.axes
    patches = [patch.get_bbox().extents for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    labels = [text.get_text() for text in axes.texts if not isinstance(text, Annotation)]
    return list(zip(labels, patches, strict=True))


def arrows(figure):
    (axes,) = figure.axes
    notes = [text for text in axes.texts if isinstance(text, Annotation)]
    assert all(isinstance(note.arrow_patch, FancyArrowPatch) for note in notes)
    return [(note.xyann, note.xy) for note in notes]


def named(figure, label):
    return [place for name, place in boxes(figure) if name == label]


def test_every_task_is_a_box_and_every_dependency_an_arrow():
    figure = draw_graph(delayed_sum(5))
    assert sorted(label for label, _ in boxes(figure)) == ["add"] + 5 * ["read"]
    assert len(arrows(figure)) == 5


def test_arrows_lead_from_box_to_box():
    figure = draw_graph(delayed_sum(3))
    (end,) = named(figure, "add")
    for (x0, y0), (x1, y1) in arrows(figure):
        assert any(x0 == pytest.approx(x) and bottom < y0 < top for _, bottom, x, top in named(figure, "read"))
        assert x1 == pytest.approx(end[0])
        assert end[1] < y1 < end[3]
        assert x0 < x1


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize(
    "collection",
    [
        delayed_sum(20),
        db.from_sequence(range(6), npartitions=3).map(read).sum(),
        dd.from_pandas(pd.DataFrame({"mass": range(9)}), npartitions=3).mass.sum(),
        da.ones((10, 10), chunks=5) @ da.ones((10, 10), chunks=5),
        dask.delayed(3),
    ],
    ids=["delayed", "bag", "dataframe", "array", "one value"],
)
def test_boxes_lie_inside_the_figure_and_apart(collection, optimize):
    figure = draw_graph(collection, optimize=optimize)
    width, height = figure.get_size_inches()
    places = [place for _, place in boxes(figure)]
    assert places
    for left, bottom, right, top in places:
        assert 0 < left < right < width
        assert 0 < bottom < top < height
    for i, (left, bottom, right, top) in enumerate(places):
        for other in places[:i]:
            assert right < other[0] or other[2] < left or top < other[1] or other[3] < bottom


@pytest.mark.parametrize("label", ["read", "add"])
def test_a_label_fits_its_box(label):
    figure = draw_graph(delayed_sum(2))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    text = next(text for text in axes.texts if text.get_text() == label)
    to_inches = axes.transData.inverted()
    left, right = to_inches.transform(text.get_window_extent())[:, 0]
    place = named(figure, label)[0]
    assert place[0] < left < right < place[2]


def test_fused_tasks_are_one_box_with_all_names():
    bag = db.from_sequence(range(6), npartitions=3).map(read).sum()
    written, as_run = draw_graph(bag, optimize=False), draw_graph(bag)
    assert len(named(written, "read")) == len(named(written, "sum-part")) == 3
    fused = [label for label, _ in boxes(as_run) if "read" in label]
    assert len(fused) == 3
    assert all("sum-part" in label for label in fused)


def test_data_in_the_graph_is_white():
    bag = db.from_sequence(range(6), npartitions=3).map(read)
    (axes,) = draw_graph(bag, optimize=False).axes
    colours = {
        label: patch.get_facecolor()[:3] for patch, (label, _) in zip(axes.patches, boxes(axes.figure), strict=True)
    }
    assert colours["from_sequence"] == (1, 1, 1)
    assert colours["read"] != (1, 1, 1)


def test_a_plain_mapping_is_a_graph_too():
    figure = draw_graph({"a": 1, "b": (read, "a"), "c": (add, ["a", "b"])})
    assert sorted(label for label, _ in boxes(figure)) == ["a", "b", "c"]
    assert len(arrows(figure)) == 3


def test_a_graph_that_is_too_large_is_refused():
    with pytest.raises(InputError, match=r"41 tasks.*max_tasks=40"):
        draw_graph(delayed_sum(40), max_tasks=40)
    assert len(boxes(draw_graph(delayed_sum(40), max_tasks=41))) == 41


def test_an_object_without_a_graph_is_refused():
    with pytest.raises(InputError, match="A list has no task graph"):
        draw_graph([1, 2])


DRAW = """
import hashlib, io
import dask.dataframe as dd
import pandas as pd
from af_kit.run.task_graph import draw_graph

picture = io.BytesIO()
table = dd.from_pandas(pd.DataFrame({"mass": range(9), "pt": range(9)}), npartitions=3)
draw_graph(table[table.pt > 2].mass.sum(), optimize=False).savefig(picture, format="raw")
print(hashlib.sha256(picture.getvalue()).hexdigest())
"""


def test_the_picture_is_the_same_in_every_process():
    pictures = {subprocess.check_output([sys.executable, "-c", DRAW], timeout=120) for _ in range(2)}
    assert len(pictures) == 1
