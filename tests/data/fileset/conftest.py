import pytest


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with empty files."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.root", "b.root", "c.root", "more/d.root", "more/deep/e.root"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path
