"""What the tests of filesets share."""

import pytest

from af_kit.data.fileset.load import load_fileset
from af_kit.errors import FilesetError


def write(folder, text, name="fileset.yaml"):
    path = folder / name
    path.write_text(text)
    return path


def paths(fileset, dataset=None):
    name = dataset or next(iter(fileset))
    return [file.path for file in fileset[name].files]


def error_of(source, **options):
    """The message of the error that loading ``source`` raises."""
    with pytest.raises(FilesetError) as caught:
        load_fileset(source, **options)
    return str(caught.value)
