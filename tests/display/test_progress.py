"""Progress bars: on a terminal, on request, and never when hidden."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading

from af_kit.display.progress import Progress, hidden, progressing, say


def test_no_bar_without_a_terminal(capsys):
    with Progress(10) as bar:
        bar.update(3)
        bar.skip(1)
    assert list(progressing("ab", 2, unit="letters")) == ["a", "b"]
    say("a line")
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_request_shows_rate_time_and_failures(capsys):
    with Progress(2000, True, what="run") as bar:
        bar.update(500, failed=100)
        bar.skip(1000)
        bar.update(400)
    text = capsys.readouterr().err
    assert "run: " in text
    assert "1000/1000" in text
    assert "entries/s" in text
    assert "100 failed" in text


def test_a_hidden_bar_is_not_drawn_even_on_request(capsys):
    with hidden():
        with hidden(False), Progress(10, True) as bar:
            bar.update(10)
        say("a line", True)
    assert capsys.readouterr() == ("", "")
    say("a line", True)
    assert capsys.readouterr().err == "a line\n"


def test_a_brief_bar_appears_only_if_it_takes_long(capsys):
    assert list(progressing(range(3), 3, True, unit="files", brief=True)) == [0, 1, 2]
    assert "files" not in capsys.readouterr().err


def test_a_bar_on_a_terminal():
    code = (
        "from af_kit.display.progress import Progress\n"
        "with Progress(4, what='plan', unit='files') as bar:\n    bar.update(4)"
    )
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    seen: list[bytes] = []

    def read() -> None:
        while True:
            try:
                piece = os.read(parent, 4096)
            except OSError:  # the other end is closed
                return
            if not piece:
                return
            seen.append(piece)

    thread = threading.Thread(target=read)
    thread.start()
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=child, timeout=60, check=True)
    os.close(child)
    thread.join(10)
    os.close(parent)
    text = b"".join(seen).decode()
    assert "plan: 100%" in text
    assert "4/4" in text
