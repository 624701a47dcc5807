"""YAML and JSON files: errors with their line, duplicate keys."""

import pytest
from fileset_tools import error_of, write

from af_kit.data.fileset.load import File, load_fileset


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("d: [a.root]\nd: [b.root]\n", ["duplicate key 'd'", "lines 1 and 2"]),
        ("d:\n  files: [a.root]\n  files: [b.root]\n", ["duplicate key 'files'", "lines 2 and 3"]),
        ("d: [a.root\ne: 5", ["not valid YAML at line 2"]),
        ("d:\n\t- a.root\n", ["not valid YAML at line 2"]),
        ("d: [a.root]\n---\ne: [b.root]\n", ["not valid YAML at line 2"]),
        ("d:\n  x\0: [a.root]\n", ["not valid YAML at line 2, column 4", r"character '\x00'"]),
        ("d: 2020-13-45\n", ["not valid YAML", "month"]),
        ("d: !!timestamp tomorrow\n", ["not valid YAML"]),
        ("d: !!bool perhaps\n", ["not valid YAML", "perhaps"]),
        ("[" * 3000, ["not valid YAML", "recursion"]),
    ],
)
def test_mistakes_in_yaml(folder, text, expected):
    message = error_of(write(folder, text))
    for part in ["fileset.yaml", *expected]:
        assert part in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"d": ["a.root"], "d": ["b.root"]}', "duplicate key 'd'"),
        ('{"d": [}', "not valid JSON at line 1, column 8"),
        ("[" * 100_000, "not valid JSON: "),  # too deep, in the words of the Python version
        ('{"d": ' + 5000 * "1" + "}", "not valid JSON: Exceeds the limit"),
    ],
)
def test_mistakes_in_json(folder, text, expected):
    assert expected in error_of(write(folder, text, "fileset.json"))


def test_merge_keys_of_yaml_may_be_overridden(folder):
    text = "d: &d\n  treename: T\n  files: [a.root]\ne:\n  <<: *d\n  files: [b.root]\n"
    fileset = load_fileset(write(folder, text))
    assert fileset["e"].files == (File((str(folder / "b.root"),), "T"),)


def test_binary_fileset_file(folder):
    (folder / "x.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as text" in error_of("x.yaml")
