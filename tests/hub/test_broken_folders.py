"""Folders that are broken: one error each, which lists all that is wrong by name, with the shapes on both sides."""

import json
import re

import numpy as np
import pytest

from deeplab import hub
from deeplab.core.errors import UserError
from tests.hub.test_hub import LLAMA, TIED, rewrite, written

NORM, UP, EMBED = "model.norm.weight", "model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight"
MISSING = "missing: model.norm.weight [16], for our norm/scale"
EXTRA = "unexpected: model.extra.weight [2, 3] F32; no rule reads it"
SHAPE = f"shape: {UP} is [24, 5], expected [24, 16] for our blocks/feed_forward/up/kernel[1]"


def tensors(change, *more):
    """Damage to the tensors of the one file, then further damage to the folder."""

    def damage(folder):
        rewrite(folder, change)
        for one in more:
            one(folder)

    return damage


def missing(t):
    del t[NORM]


def wrong(t):
    t |= {"model.extra.weight": np.zeros((2, 3), np.float32), UP: np.zeros((24, 5), np.float32)}


def everything(t):
    missing(t)
    wrong(t)


def truncated(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])


def too_long_a_header(folder):
    file = folder / "model.safetensors"
    file.write_bytes((10**6).to_bytes(8, "little") + file.read_bytes()[8:])


def only_a_pickle(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def unknown_dtype(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"F32"', b'"Q32"', 1))


def says(name, content):
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


def beside(name, file="model.safetensors"):
    """A second file of the same tensors."""

    def damage(folder):
        (folder / name).write_bytes((folder / "model.safetensors").read_bytes())
        (folder / "model.safetensors").rename(folder / file)

    return damage


def no_second_shard(folder):
    sorted(folder.glob("*.safetensors"))[1].unlink()


INDEX = "model.safetensors.index.json"
CLAIMS = r"model.safetensors: the header claims 1,000,000 bytes, and the file has [\d,]+; download it again"
CUT = r"model.safetensors: \S+ ends at byte [\d,]+ of [\d,]+; it is truncated"
CASES = {  # what is done; lines of the error after the first, or else a part of its only line
    "missing": (LLAMA, tensors(missing), [re.escape(MISSING)]),
    "extra_and_shape": (LLAMA, tensors(wrong), [re.escape(SHAPE), re.escape(EXTRA)]),
    "all": (
        LLAMA,
        tensors(everything, truncated),
        [CUT, re.escape(SHAPE), re.escape(MISSING), re.escape(EXTRA)],
    ),
    "header": (LLAMA, too_long_a_header, [CLAIMS, *[r"missing: \S+ \[[\d, ]+\], for our \S+"] * 30]),
    "dtype": (LLAMA, unknown_dtype, [r".*Q32.*"]),
    "tied": (
        TIED,
        tensors(lambda t: t.__setitem__("lm_head.weight", t[EMBED] + 1)),
        [
            rf"tied: {EMBED} \[24, 16\] F32 and lm_head.weight \[24, 16\] F32 differ; the config says that they are "
            r"one \(tie_word_embeddings\)"
        ],
    ),
    "twice": (
        LLAMA,
        beside("a.safetensors", "b.safetensors"),
        [r"\S+: in a.safetensors and in b.safetensors"] * 30,
    ),
    "stale_index": (
        LLAMA,
        says(INDEX, '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}'),
        "holds model.safetensors and model.safetensors.index.json, which names other files",
    ),
    "pickle": (LLAMA, only_a_pickle, "pytorch_model.bin is a pickle, which runs code .*save_pretrained"),
    "family": (LLAMA, says("config.json", json.dumps({**LLAMA, "model_type": "lama"})), "did you mean .*'llama'"),
    "no_family": (LLAMA, says("config.json", "{}"), "model_type"),
    "config": (LLAMA, says("config.json", "[1]"), "config.json holds a list, expected a table of names and values"),
    "config_cut": (LLAMA, says("config.json", '{"model_type": '), "config.json is not JSON"),
    "index_cut": (LLAMA, says(INDEX, '{"weight_map": '), "index.json is not JSON"),
    "index_empty": (LLAMA, says(INDEX, "{}"), "index.json has no weight_map from tensors to files"),
    "index_list": (LLAMA, says(INDEX, '{"weight_map": {"a": 1}}'), "has no weight_map from tensors to files"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_broken_folder_is_one_error(tmp_path, name):
    config, damage, expected = CASES[name]
    written(tmp_path, config)
    damage(tmp_path)
    with pytest.raises(UserError) as error:
        hub.load(tmp_path)
    head, *lines = str(error.value).splitlines()
    if isinstance(expected, str):
        assert re.search(expected, head)
        assert not lines
        return
    assert head == f"{tmp_path} does not fit its model:"
    assert len(lines) == len(expected)
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch("  " + pattern, line), line


def test_a_shard_that_is_not_there_names_its_tensors(tmp_path):
    written(tmp_path, shard_bytes=3000)
    where = json.loads((tmp_path / INDEX).read_text())["weight_map"]
    gone = sorted(tmp_path.glob("*.safetensors"))[1].name
    no_second_shard(tmp_path)
    with pytest.raises(UserError) as error:
        hub.load(tmp_path)
    _, first, *lines = str(error.value).splitlines()
    lost = {name for name, file in where.items() if file == gone}
    assert first == f"  {gone}: the file is missing, the index names it"
    assert {line for line in lines if "not in" in line} == {f"  {name}: not in {gone}" for name in lost}
    missed = re.findall(r"^  missing: (\S+) \[[\d, ]+\], for our \S+$", "\n".join(lines), re.MULTILINE)
    assert set(missed) == lost


def test_the_one_file_is_read_whatever_lies_beside_it(tmp_path):
    written(tmp_path)
    expected = hub.load(tmp_path).params
    beside("old.safetensors")(tmp_path)
    rewrite(tmp_path, lambda t: t.__setitem__(NORM, t[NORM] + 1))
    assert np.all(np.asarray(hub.load(tmp_path).params["norm"]["scale"] == expected["norm"]["scale"] + 1))
