"""The live view: what it shows is what is merged, it costs little, and the result has the same bits."""

from __future__ import annotations

import queue
import random
import signal
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hist import Hist
from hypothesis import given, settings
from hypothesis import strategies as st
from run_tools import bits, everything

from af_kit import process
from af_kit.errors import FunctionError, InputError
from af_kit.run import live
from af_kit.run.bookkeeping import Bookkeeping, Partial, Segment, combine
from af_kit.run.engines.base import Merger
from af_kit.run.live import LiveView, Ready, Wanted, glimpse

PNG = b"\x89PNG"


class Screen:
    """Records what a notebook would show."""

    def __init__(self) -> None:
        self.panels: list[dict[str, dict[str, Any]]] = []
        self.texts: list[str] = []
        self.pictures: list[tuple[bytes, str]] = []

    def text(self, markup: str, plain: str) -> None:
        assert "<div" in markup
        self.texts.append(plain)

    def picture(self, png: bytes, plain: str) -> None:
        assert png.startswith(PNG)
        self.pictures.append((png, plain))


@pytest.fixture
def shown(monkeypatch) -> Screen:
    """A notebook."""
    screen = Screen()
    monkeypatch.setattr(live, "screen", lambda: screen)
    monkeypatch.setattr(live, "picture", lambda panels, title: screen.panels.append(panels) or PNG)
    return screen


@pytest.fixture
def eager(monkeypatch) -> None:
    """A view that looks after every task."""
    monkeypatch.setattr(live, "_SHARE", 1e9)
    monkeypatch.setattr(live, "_PICTURE_S", 0)
    monkeypatch.setattr(live, "_TEXT_S", 0)
    monkeypatch.setattr(live, "panel_s", lambda: 0.05)


def test_looking_changes_nothing(fileset, eager):
    """A function gets copies: what it does to them does not come back."""
    seen: list[float] = []

    def spoil(output: dict[str, Any]) -> None:
        seen.append(output["pt"].sum())
        assert "event" not in output
        assert output["entries"] > 0
        output["pt"] *= 0
        output["weighted"].reset()

    quiet = process(everything, fileset)
    watched = process(everything, fileset, live=spoil)
    assert bits(watched) == bits(quiet)
    assert watched.report.notes == quiet.report.notes
    assert seen == sorted(seen)
    assert len(set(seen)) > 2
    assert seen[-1] == quiet["pt"].sum()


def test_a_notebook_shows_the_account_and_the_histograms(fileset, shown, eager):
    result = process(everything, fileset, live=True)
    assert shown.texts[0] == "Live view: 0 of 20,000 entries processed, 0 failed."
    assert shown.texts[-1].startswith("Live view: The histograms hold all 20,000 entries. 20,000 of 20,000")
    titles = [title for _, title in shown.pictures]
    assert titles[-1] == "all 20,000 entries"
    assert titles[0].startswith("part of the run: ")
    assert result.report.notes == ()


def test_what_a_checkpoint_holds_is_shown(fileset, tmp_path, shown, eager):
    process(everything, fileset, checkpoint=tmp_path, max_chunks=2)
    already = len(shown.texts)
    process(everything, fileset, checkpoint=tmp_path, live="pt")
    first = int(shown.texts[already].removeprefix("Live view: ").partition(" ")[0].replace(",", ""))
    assert first > 0


def test_names_and_datasets(shown, eager, fileset):
    drawn = shown.panels

    def analyse(events: Any) -> dict[str, Any]:
        pt = Hist.new.Reg(10, 0, 100, name="pt").Int64().fill(np.asarray(events.event) % 100)
        other = Hist.new.Reg(5, 0, 100, name="pt").Int64().fill(np.asarray(events.event) % 100)
        one = {"pt": pt, "eta": pt.copy(), "split": other if events.metadata["dataset"] == "signal" else pt}
        return {events.metadata["dataset"]: one, "total": pt}

    process(analyse, fileset, live=True)
    both = {"signal", "background"}
    assert {name: set(lines) for name, lines in drawn[-1].items()} == {
        "pt": both, "eta": both, "split": {"signal"}, "background/split": {"background"}, "total": {""},
    }  # fmt: skip
    process(analyse, fileset, live=["eta", "total"])
    assert {name: set(lines) for name, lines in drawn[-1].items()} == {"eta": {"signal", "background"}, "total": {""}}
    process(analyse, fileset, live="signal/pt")
    assert {name: set(lines) for name, lines in drawn[-1].items()} == {"pt": {"signal"}}


def test_a_name_of_a_dataset_that_comes_later(shown, eager, fileset):
    def analyse(events: Any) -> dict[str, Any]:
        return {events.metadata["dataset"]: {"pt": Hist.new.Reg(10, 0, 100, name="pt").Int64()}}

    result = process(analyse, fileset, live="background/pt")
    assert result.report.notes == ()
    assert any("The output has no histogram 'background/pt'. " in f"{t} " for t in shown.texts)
    assert "no histogram" not in shown.texts[-1]


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ("pd", "has no histogram 'pd'. Did you mean 'pt'?"),
        ("weighted", "'weighted' has 2 axes. To draw it, give a function: live=lambda output: output['weighted']"),
        (lambda output: output["pt"].bad, "AttributeError"),
    ],
)
def test_an_error_ends_the_view_and_not_the_run(fileset, shown, eager, choice, reason):
    result = process(everything, fileset, live=choice)
    result.report.check()
    (note,) = result.report.notes
    assert note.startswith("the live view ended: ")
    assert reason in note
    assert reason in shown.texts[-1]
    assert shown.texts[-1].endswith("The run is not affected.")
    assert sum("The live view ended" in text for text in shown.texts) == 1


def test_a_run_that_fails_shows_a_part(fileset, shown, eager):
    def fails(events: Any) -> dict[str, Any]:
        if events.metadata["dataset"] == "background":
            raise ValueError("a bug")
        return everything(events)

    with pytest.raises(FunctionError) as caught:
        process(fails, fileset, live="pt")
    entries = caught.value.result.report.entries["processed"]
    assert shown.pictures[-1][1] == f"part of the run, which was stopped: {entries:,} of 20,000 entries"
    assert shown.texts[-1].endswith(f"{20_000 - entries:,} not processed.")
    collected = process(fails, fileset, live="pt", on_error="collect", progress=False)
    entries = collected.report.entries["processed"]
    assert shown.pictures[-1][1] == f"INCOMPLETE: {entries:,} of 20,000 entries"


@pytest.mark.parametrize("error", [None, ValueError])
def test_a_stop_while_a_picture_is_drawn_stops_the_run(fileset, shown, eager, monkeypatch, error):
    """Matplotlib turns an interrupt into an error of its own, or loses it: neither may happen."""
    stops: list[None] = []

    def draw(panels: Any, title: str) -> bytes:
        if stops:
            return PNG
        stops.append(None)
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            return PNG
        if error:
            raise error("Invalid bounding box")
        return PNG

    monkeypatch.setattr(live, "picture", draw)
    with pytest.warns(UserWarning, match="stopped early"):
        result = process(everything, fileset, live="pt")
    assert result.report.stopped
    assert shown.pictures[-1][1].startswith("part of the run, which was stopped: ")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_stop_ends_the_drawing():
    def stop_twice() -> None:
        with live._interrupts_wait():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            pytest.fail("the second interrupt had to wait, too")

    with pytest.raises(KeyboardInterrupt):
        stop_twice()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("choice", [3, ["pt", 1], {"pt": 1}, np.arange(3)])
def test_what_live_may_be(fileset, choice):
    with pytest.raises(InputError, match="give True, names of histograms, or a function"):
        process(everything, fileset, live=choice)


def test_outside_a_notebook_nothing_is_drawn(fileset, capsys, monkeypatch):
    monkeypatch.setattr(live, "picture", None)
    result = process(everything, fileset, live=True)
    assert result.report.notes == ()
    assert capsys.readouterr() == ("", "")


# ---------------------------------------------------------------- the merge tree


def leaf(number: int, **more: Any) -> Partial:
    return Partial([Segment(number, number + 1, {"leaves": 1 << number, **more})], Bookkeeping(entries={"data": 1}))


class Later:
    """Glimpses that take some looks to come, as those of workers do."""

    def __init__(self, nodes: Any, wanted: Wanted, delay: int) -> None:
        self._found, self._delay = Ready(nodes, wanted).poll(), delay

    def poll(self) -> Any:
        self._delay -= 1
        return self._found if self._delay < 0 else None

    def cancel(self) -> None:
        self._found = []


@settings(max_examples=30)
@given(st.integers(1, 300), st.integers(0, 10), st.integers(0, 40), st.integers(1, 48))
def test_no_chunk_is_shown_twice(leaves, seed, delay, nodes):
    """However late the glimpses come, and however few are taken, each leaf is in the picture at most once."""
    source = random.Random(seed)
    shown: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"_SHARE": 1e9, "_PICTURE_S": 0, "_NODES": nodes, "panel_s": lambda: 0.0}.items():
            patch.setattr(live, name, value)
        view = LiveView(lambda output: None)
        patch.setattr(view, "_draw", lambda values, title: shown.append(values["leaves"]))
        view.begin(leaves)
        merger = Merger(leaves, combine)
        order = list(range(leaves))
        source.shuffle(order)
        done = 0
        for number in order:
            merger.finish(number, leaf(number))
            done |= 1 << number
            view.look(merger, lambda found, wanted: Later(found, wanted, source.randint(0, delay)))
            # a leaf that is added twice carries into the bit of another one
            assert not shown or shown[-1] & ~done == 0
        for _ in range(delay + 60):
            view.look(merger, lambda found, wanted: Later(found, wanted, 0))
        assert shown[-1] == (1 << leaves) - 1
        assert len(view._held) == 1
        assert view.problem == ""


def test_large_histograms_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(live, "_BYTES", 100)
    view = LiveView(lambda output: None)
    merger = Merger(200, combine)
    histogram = Hist.new.Int(0, 2).Int64()
    for number in range(0, 200, 2):
        merger.finish(number, leaf(number, h=histogram))
    held = [glimpse(leaf(number, h=histogram), (0, number), Wanted(everything=True)) for number in (0, 2)]
    assert len(view._new(merger.finished())) == live._NODES
    view._keep(held)
    assert held[0].size > 20
    assert len(view._new(merger.finished())) == 1


@pytest.mark.parametrize("known", [False, True])
def test_pictures_take_a_small_part_of_the_time(monkeypatch, known):
    """By a clock that the test sets: a picture takes 0.3 s, a task ends every 0.1 s.

    If it is known how much of the run is done, the first pictures come early.
    """
    now, cpu = [100.0], [5.0]
    monkeypatch.setattr(live, "panel_s", lambda: 0.1)
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: now[0], thread_time=lambda: cpu[0]))
    times: list[float] = []
    view = LiveView(lambda output: None)

    def draw(values: Any, title: str) -> None:
        times.append(now[0] - 100)
        now[0] += 0.3
        cpu[0] += 0.3

    monkeypatch.setattr(view, "_draw", draw)
    histogram = Hist.new.Int(0, 2).Int64()
    view.begin(3000)
    merger = Merger(3000, lambda parts: parts[0])
    for number in range(3000):
        now[0] += 0.1
        merger.finish(number, leaf(0, a=histogram, b=histogram, c=histogram))
        view.count(int(known), 0)
        view.look(merger, lambda nodes, wanted: Ready(nodes, wanted))
        assert cpu[0] - 5 <= (0.05 if known else 0.01) * (now[0] - 100)
    assert cpu[0] - 5 <= 0.01 * (now[0] - 100)
    assert 5 < times[0] < 10 if known else 30 < times[0] < 60
    assert len(times) > 5


# ---------------------------------------------------------------- a real notebook


CELL = """
import time
import dask
import matplotlib; matplotlib.use("Agg")
from hist import Hist
import af_kit
from af_kit.run import live

live._SHARE, live._PICTURE_S = 0.5, 0
dask.config.set({"af_kit.data.chunk_bytes": 1})

def analyse(events):
    time.sleep(0.2)
    return {"pt": Hist.new.Reg(20, 0, 100, name="pt", label="$p_T$ [GeV]").Int64().fill(events.event %% 100)}

result = af_kit.process(analyse, %r, chunk_entries=250, live=True)
print(repr(result))
"""


@pytest.fixture
def kernel() -> Iterator[Any]:
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    yield SimpleNamespace(manager=manager, client=client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def messages(client: Any, until: Callable[[Any], bool], within_s: float = 60) -> list[Any]:
    deadline, found = time.monotonic() + within_s, []
    while time.monotonic() < deadline:
        try:
            found.append(client.get_iopub_msg(timeout=1))
        except queue.Empty:
            continue
        if until(found[-1]):
            return found
    raise TimeoutError([message["content"] for message in found])


def test_stop_in_a_notebook_leaves_a_part(kernel, files):
    """The stop button interrupts the kernel: the picture and the result say that they are a part."""
    kernel.client.execute(CELL % {"data": {"files": {str(path): "Events" for path in files}}})

    def is_picture(message: Any) -> bool:
        assert message["msg_type"] != "error", message["content"]
        return "image/png" in message["content"].get("data", {})

    before = messages(kernel.client, is_picture)
    assert before[-1]["content"]["data"]["text/plain"].startswith("part of the run: ")
    kernel.manager.interrupt_kernel()
    after = messages(kernel.client, lambda message: message["content"].get("execution_state") == "idle")
    updates = [message["content"]["data"] for message in after if message["msg_type"] == "update_display_data"]
    plain = [data["text/plain"] for data in updates]
    assert any(text.startswith("Live view: The histograms hold part of the run, which was stopped: ") for text in plain)
    assert "image/png" in updates[-1]
    assert plain[-1].startswith("part of the run, which was stopped: ")
    printed = "".join(message["content"].get("text", "") for message in after)
    assert "INCOMPLETE, a part: the run was stopped" in printed
