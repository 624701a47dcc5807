"""Tables and the picture of points; and points as JSON."""

from __future__ import annotations

import json

import pytest

from af_kit.errors import InputError
from af_kit.facility.picture import draw
from af_kit.facility.point import Point, read_points
from af_kit.facility.published import PUBLISHED, published_for
from af_kit.facility.table import clock, page, throughput
from af_kit.facility.workloads import WORKLOADS
from af_kit.facility.write import write_bench, write_pages


@pytest.fixture
def points(point) -> list[Point]:
    return [
        point(workers=1, threads=1, wall_s=34.0),
        point(workers=10, threads=20, wall_s=4.0),
        point(workers=1, threads=1, wall_s=340.0, events=10_000_000),
        point(workload="hmumu", workers=1, threads=1, notes=("3 workers were asked for, and there was 1",)),
    ]


def test_a_row_for_each_shape_and_a_column_for_each_size(points):
    assert throughput(points[:3]).splitlines() == [
        "| workers x threads | 1.0M events | 10M events |",
        "| --- | --- | --- |",
        "| 1 x 1 | 0:34, 29k | 5:40, 29k |",
        "| 10 x 2 | 0:04, 250k | - |",
    ]


def test_the_page_says_what_limits_what_failed_and_what_others_published(points):
    text = page(points, ["hmumu, 4 x 1, 1.0M events: the cluster is gone"])
    assert text.count("\n## ") == 3
    assert "- 1 x 1, 1.0M events: function: " in text
    assert "3 workers were asked for, and there was 1." in text
    assert "the cluster is gone" in text
    mine, _, published = text.partition("Published by others, not measured here: VBF H -> mu mu")
    assert "| Slurm, 500 | 0:08, 17k | 0:35, 3.8M | 3:51, 3.3M |" in published
    assert "Slurm" not in mine


@pytest.mark.parametrize(("seconds", "text"), [(0.62, "0:00.6"), (8, "0:08"), (9.96, "0:10"), (12100, "201:40")])
def test_times(seconds, text):
    assert clock(seconds) == text


def test_published_rates_are_those_of_their_times():
    for one in PUBLISHED:
        assert set(one.workloads) <= set(WORKLOADS)
        for _, cores, cells in one.rows:
            assert cores >= 1
            assert len(cells) == len(one.sizes)
            for size, cell in zip(one.sizes, cells, strict=True):
                if cell is not None and cell[0] is not None:
                    assert size / cell[0] == pytest.approx(cell[1], rel=0.1)
    assert [one.about for one in published_for("dimuon")] == []


def test_the_picture_has_a_panel_for_each_workload_with_points_and_roofline(points):
    figure = draw(points)
    dimuon, hmumu = figure.axes
    assert [line.get_label() for line in dimuon.lines] == [
        "1.0M events",
        "10M events",
        "roofline",
    ]
    assert dimuon.lines[0].get_xydata().tolist() == [[1, pytest.approx(1e6 / 34)], [20, 250_000]]
    assert "published by others" in [line.get_label() for line in hmumu.lines]
    assert dimuon.get_xscale() == dimuon.get_yscale() == "log"
    assert (dimuon.get_xlabel(), dimuon.get_ylabel()) == ("threads of all workers", "events/s")


def test_points_survive_their_file(points, tmp_path):
    path = write_bench(tmp_path, {"backend": "local"}, points, ["one"])
    assert read_points(path) == points
    content = json.loads(path.read_text())
    assert content["points"][0]["limit"]["part"] == "function"
    assert content["points"][0]["events_per_s"] == pytest.approx(1e6 / 34)
    assert (content["failed"], content["backend"]) == (["one"], "local")
    assert [file.name for file in write_pages(tmp_path, points)] == ["table.md", "facility.png"]
    assert [file.name for file in write_pages(tmp_path, [])] == ["table.md"]
    assert not (tmp_path / "facility.png").exists()


@pytest.mark.parametrize("text", ["{}", "no JSON", '{"points": [{"workload": "dimuon"}]}'])
def test_a_file_that_is_no_bench_is_refused(text, tmp_path):
    (tmp_path / "bench.json").write_text(text)
    with pytest.raises(InputError, match=r"is not a bench\.json"):
        read_points(tmp_path / "bench.json")
    with pytest.raises(InputError, match="No such file"):
        read_points(tmp_path / "other.json")


def test_idle_counts_merges_as_work(point):
    # 31.2 s in tasks with chunks, of which 0.4 s merged inside; 0.4 s in tasks that merge
    assert point().idle == pytest.approx(1 - 31.6 / 40)
    assert point().cpu_per_event == pytest.approx(28e-6)
    assert point().scheduler_load == pytest.approx(0.03)
