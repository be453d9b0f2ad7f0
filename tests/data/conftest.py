"""A set of one small file, and a cache of a test's own, for what goes wrong with files."""

import dataclasses
import gzip
import hashlib

import numpy as np
import pytest

from deeplab.data.prepare.files import File
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import image_fields

CONTENT = bytes(range(256)) * 4


@dataclasses.dataclass(frozen=True)
class OneFile(ExampleSet):
    """Sixteen images of 8 x 8 in one file of raw bytes."""

    files: tuple[File, ...]
    name: str = "one_file"
    version: str = "1.0.0"
    citation: str = ""
    class_names: tuple[str, ...] = ("a",)

    @property
    def splits(self):
        return {"train": 16}

    @property
    def fields(self):
        return image_fields((8, 8, 1), num_classes=1)

    def read(self, split, content):
        image = np.frombuffer(content("pixels"), np.uint8).reshape(16, 8, 8, 1)
        return {"image": image, "label": np.zeros(16, np.int32)}


@pytest.fixture
def one_file():
    """The set, as a function of where its file is distributed."""

    def make(url: str = "http://data.invalid/pixels.gz") -> OneFile:
        return OneFile((File("pixels", url, len(CONTENT), hashlib.sha256(CONTENT).hexdigest()),))

    return make


@pytest.fixture
def one_file_dir(tmp_path):
    """A folder with the set's original file."""
    (tmp_path / "pixels.gz").write_bytes(gzip.compress(CONTENT))
    return tmp_path


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    """An empty cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DEEPLAB_CACHE", str(folder))
    return folder
