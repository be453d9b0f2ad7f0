"""Sets read record by record: batches are pure functions of the step, whoever reads them."""

import grain
import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.data import Images, arrays, records, tfds, write
from deeplab.data.prepare import images
from deeplab.data.records import Records


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(0)
    split = rng.integers(0, 256, (40, 4, 4, 1), np.uint8), np.arange(40) % 2
    path = write(arrays({"train": split, "test": split}), tmp_path_factory.mktemp("tfds"))
    return Images(tfds(path, keep="records"), batch_size=8, num_steps=12)


@pytest.mark.parametrize("num_threads", [0, 2])
def test_grain_reads_the_batches_of_the_stream(data, num_threads):
    pipeline = records.pipeline(data, data.open("train"), seed=4)
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=3 if num_threads else 0)
    count = 0
    for read, expected in zip(pipeline.to_iter_dataset(options), data.batches(seed=4), strict=True):
        np.testing.assert_array_equal(read["id"], expected["id"])
        np.testing.assert_array_equal(read["image"], expected["image"])
        count += 1
    assert count == 12
    np.testing.assert_array_equal(pipeline[7]["id"], data.train_ids(7, seed=4)[0])


def test_a_record_is_a_row_of_its_batch(data):
    source = data.open("train").records
    assert len(source) == 40
    np.testing.assert_array_equal(source[5]["image"], source.batch(np.array([3, 5]))["image"][1])


def test_a_record_is_found_in_its_file():
    source = Records([], [("a", 0, 10), ("b", 5, 10)], dict)
    assert [source._locate(number) for number in (0, 9, 10, 19)] == [("a", 0), ("a", 9), ("b", 5), ("b", 14)]


def test_processes_read_the_batches_of_the_stream(data):
    """Whoever reads it, and wherever it begins, batch i is the batch of (seed, i)."""
    with records.in_processes(data, data.open("train"), seed=4, start=2, end=7, workers=2) as batches:
        read = list(batches)
    assert len(read) == 5
    for batch, expected in zip(read, data.batches(start=2, seed=4), strict=False):
        assert batch.keys() == expected.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], expected[name])


def test_a_set_of_several_files_is_read_as_one(tmp_path):
    rng = np.random.default_rng(1)
    split = rng.integers(0, 256, (23, 4, 4, 1), np.uint8), np.arange(23) % 3
    path = write(arrays({"train": split, "test": split}), tmp_path, num_shards=4)
    assert len(list(path.glob("*train*array_record*"))) == 4
    for keep in ("arrays", "records"):
        one = Images(tfds(path, keep=keep), batch_size=23, num_steps=1)
        batch = one.fetch(one.open("train"), np.arange(23))
        np.testing.assert_array_equal(batch["image"], split[0])
        np.testing.assert_array_equal(batch["label"], split[1])
    files = tfds(path, keep="records").open("train").records.files
    assert sum(count for _, _, count in files) == 23
    assert len({name for name, _, _ in files}) == 4


@pytest.mark.parametrize("keep", ["arrays", "records"])
def test_a_target_beyond_int32_is_refused(tmp_path, cache, keep):
    """Milliseconds since 1970 wrapped in silence."""
    import tensorflow_datasets as theirs
    from tensorflow_datasets.core import registered

    features = {
        "image": theirs.features.Image(shape=(4, 4, 1), encoding_format="png"),
        "time": theirs.features.Tensor(shape=(2,), dtype=np.int64),
    }
    picture = images.png(np.zeros((4, 4, 1), np.uint8))
    members = {
        "VERSION": theirs.core.Version("1.0.0"),
        "__module__": __name__,
        "_info": lambda self: theirs.core.DatasetInfo(builder=self, features=theirs.features.FeaturesDict(features)),
        "_split_generators": lambda self, manager: {"train": self._generate_examples()},
        "_generate_examples": lambda self: ((i, {"image": picture, "time": np.full(2, 2**40 + i)}) for i in range(3)),
    }
    with registered.skip_registration():
        builder = type("times", (theirs.core.GeneratorBasedBuilder,), members)(
            data_dir=str(tmp_path), file_format="array_record"
        )
    builder.download_and_prepare(download_dir=str(tmp_path))
    data = Images(tfds(builder.data_path, label="time", keep=keep), batch_size=3, num_steps=1)
    with pytest.raises(UserError, match=r"'time' of split 'train' of .* has values that int32 cannot hold"):
        next(data.batches())
