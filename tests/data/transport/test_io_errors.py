"""Local and remote paths."""

from af_kit.data.transport.io_errors import as_read_error, is_remote, local_path


def test_local_and_remote_paths():
    assert not any(is_remote(path) for path in ("/a/b.root", "a.root", "file:///a"))
    assert all(is_remote(path) for path in ("http://host/a.root", "root://host//a.root"))
    assert local_path("file:///a/b") == "/a/b"


def test_an_error_without_words_gets_some():
    assert str(as_read_error("a.root", AssertionError())) == (
        "a.root cannot be read: AssertionError: its content is not consistent"
    )
