"""What optimizers make of the models' names: literal tables, since a wrong choice trains on without a word."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax.contrib
import pytest
from flax import traverse_util

from deeplab import optim
from deeplab.core.errors import UserError
from deeplab.optim.depth import distances
from tests.models.members import MEMBERS

DAILY = ("lenet", "griffin", "ft_transformer_dropout")


def members(table):
    return [pytest.param(name, marks=() if name in DAILY else pytest.mark.slow) for name in table]


def shapes(name):
    return jax.eval_shape(MEMBERS[name].make().init, jax.random.key(0), MEMBERS[name].inputs(2))["params"]


def axes(params, **options):
    """For each parameter, batch axes | inputs | outputs of its matrices; None where Adam trains it."""
    found = traverse_util.flatten_dict(optim.hidden_matrices(params, **options), sep="/")
    ranks = {path: leaf.ndim for path, leaf in traverse_util.flatten_dict(params, sep="/").items()}
    letters = dict.fromkeys(found)
    for path, chosen in found.items():
        if chosen is not None:
            sides = {axis: "io"[side] for side in (0, 1) for axis in chosen[side]}
            letters[path] = "".join(sides.get(axis, "b") for axis in range(ranks[path]))
    return letters


MATRICES = {  # some paths of each model; all other kernels of two axes are "io", and all that are no kernels None
    "llama": {"blocks/attention/query/kernel": "bio", "head/kernel": None, "token_embedding/embedding": None},
    "gpt": {"block1/attention/out/kernel": "io"},
    "mixtral": {"blocks/feed_forward/experts/up_kernel": "bbio", "blocks/feed_forward/router/gate/kernel": "bio"},
    "griffin": {
        "blocks1/attention/input_gate_kernel": "bbio", "blocks1/attention/recurrent_gate_kernel": "bbio",
        "blocks1/attention/convolution/kernel": None, "blocks1/attention/inputs/kernel": "bio",
    },
    "mamba": {"blocks/mixer/convolution/kernel": None, "blocks/mixer/inputs/kernel": "bio"},
    "vit": {"embed/kernel": None, "head/classes/kernel": None},
    "dit": {"net/patches/kernel": None, "net/condition/time1/kernel": "io", "net/head/kernel": None},
    "lenet": {"classes/kernel": None, "hidden2/kernel": "io", "conv1/kernel": None, "conv2/kernel": "iiio"},
    "convnext": {"trunk/stages_0_1/depthwise/kernel": None, "trunk/stages_1_0/conv/kernel": "iiio"},
    "mobilenet2": {"trunk/stages_1_0/depthwise/conv/kernel": None, "trunk/stages_1_0/project/conv/kernel": "iiio"},
    "fcos": {
        "classes/kernel": None, "box/kernel": None, "quality/kernel": None, "box_tower/conv1/conv/kernel": "iiio",
        "class_tower/conv1/conv/kernel": "iiio",
    },
    "segformer": {
        "trunk/stages_0_1/feed_forward/depthwise/kernel": None, "trunk/stages_0_1/mixer/reduce/kernel": "iiio",
    },
    "gaussian_autoencoder": {"net/decoder/out/kernel": None, "net/encoder/out/kernel": "io"},
    "neumf_dropout": {"model/out/kernel": None, "model/hidden2/kernel": "io"},
    "autorec_dropout": {"model/out/kernel": None, "model/rating/level/kernel": None},
    "two_tower_dropout": {"model/item_tower/out/kernel": None, "model/item_tower/hidden2/kernel": "io"},
    "bilstm": {"lstm/forward/recurrent_kernel": "io"},
    "tcn": {"block1/conv1/kernel": "iio", "block1/shortcut/kernel": "io"},
    "patchtst": {"block1/out/kernel": "io", "embed/kernel": None},
    "conformer": {
        "network/block1/convolution/depthwise/kernel": None, "network/block1/convolution/gated/kernel": "io",
        "network/subsampling/out/kernel": "io", "network/subsampling/conv2/kernel": "iiio",
    },
    "ft_transformer_dropout": {"model/columns/numbers/kernel": None, "model/block1/attention/qkv/kernel": "io"},
}  # fmt: skip


@pytest.mark.parametrize("name", members(MATRICES))
def test_muon_gets_the_hidden_matrices_of_a_model(name):
    """Gates within heads were one matrix, and last layers, depthwise filters and columns were hidden ones."""
    found = axes(shapes(name))
    assert {path: found[path] for path in MATRICES[name]} == MATRICES[name]
    assert not any(found[path] for path in found if not path.endswith("kernel"))


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return x + nn.Dense(8, name="dense")(x), None


class Own(nn.Module):
    """A model of Linen's own parts, with scanned layers of several names."""

    @nn.compact
    def __call__(self, x):
        x = nn.MultiHeadDotProductAttention(num_heads=2, name="attention")(x, x)
        for name in ("layers", "tower", None):
            scan = nn.scan(Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=4)
            x, _ = scan(name=name)(x, None)
        x = nn.Conv(8, (3,), feature_group_count=8, name="smooth")(x)
        return nn.Dense(3, name="classes")(nn.Conv(8, (3,), name="wide")(x))


def test_matrices_of_ones_own_model():
    """Scanned layers of other names than "blocks" were one matrix of (L D) x D, and their gradients one another's.

    Those of "tower" are known by their biases, and "bare" ones, without, by their name alone.
    """
    params = Own().init(jax.random.key(0), jnp.zeros((1, 5, 8)))["params"]
    expected = {
        **{f"attention/{name}/kernel": "ioo" for name in ("query", "key", "value")}, "attention/out/kernel": "iio",
        "layers/dense/kernel": "bio", "ScanLayer_0/dense/kernel": "bio", "tower/dense/kernel": "bio",
        "smooth/kernel": None, "wide/kernel": "iio", "classes/kernel": None,
    }  # fmt: skip
    kernels = {path: chosen for path, chosen in axes(params).items() if path.endswith("kernel")}
    assert kernels == expected
    query = {"kernel": jnp.ones((4, 4, 8)), "bias": jnp.ones((4, 8))}  # of as many heads as channels
    bare = {"bare": {"kernel": jnp.ones((4, 8, 8))}, "mixer": {"query": query}}
    assert axes(bare) == {"bare/kernel": "iio", "mixer/query/bias": None, "mixer/query/kernel": "ioo"}
    assert axes(bare, stacked="^bare/")["bare/kernel"] == "bio"
    with pytest.raises(UserError, match=r"the pattern '\^towr/' matches no parameter"):
        optim.hidden_matrices(params, stacked="^towr/")
    muon = optax.contrib.muon(1.0, muon_weight_dimension_numbers=optim.hidden_matrices)
    grads = jax.tree.map(jnp.zeros_like, params)
    first = jnp.zeros((4, 8, 8)).at[0].set(jax.random.normal(jax.random.key(1), (8, 8)))
    grads["layers"]["dense"]["kernel"] = first
    updates, _ = muon.update(grads, muon.init(params), params)
    moved = jnp.abs(updates["layers"]["dense"]["kernel"]).max(axis=(1, 2)) > 1e-3
    assert moved.tolist() == [True, False, False, False]


BEFORE = {  # what comes before the layers, and what is of the head, by their modules
    "llama": ({"token_embedding"}, {"head", "norm"}),
    "gpt": ({"token_embedding"}, {"norm"}),
    "vit": ({"embed"}, {"head", "norm"}),
    "bert": ({"embed"}, {"head"}),
    "gap_transformer": ({"positions", "tokens"}, {"head", "norm"}),
    "dit": ({"net/condition", "net/patches"}, {"net/head", "net/steer"}),
    "resnet": ({"stem"}, {"head"}),
    "linknet": ({"stem_conv", "stem_norm"}, {"decode1", "decode2", "enlarge", "enlarge_norm", "head"}),
    "t5_dropout": ({"model/bias", "model/encoder/bias", "model/tokens"}, {"model/encoder/norm", "model/norm"}),
    "bart_dropout": ({"model/encoder/embed", "model/target", "model/tokens"}, set()),
    "sasrec_dropout": ({"model/item", "model/position"}, {"model/norm"}),
    "tcn": (set(), {"head"}),
    "patchtst": ({"embed", "position"}, {"head"}),
    "conformer": ({"network/subsampling"}, {"network/head"}),
    "wav2vec2_dropout": ({"network/embed"}, {"network/head"}),
    "whisper_dropout": (
        {"network/encoder/embed", "network/target", "network/tokens"}, {"network/encoder/norm", "network/norm"}),
    "tabular_resnet_dropout": ({"model/columns", "model/stem"}, {"model/head", "model/norm"}),
    "ft_transformer_dropout": ({"model/columns", "model/token"}, {"model/head", "model/norm"}),
}  # fmt: skip


@pytest.mark.parametrize("name", members(BEFORE))
def test_what_comes_before_the_layers_of_a_model_is_no_head(name):
    """Columns of numbers, positions, patches and subsampling had the rate of the head."""
    found = traverse_util.flatten_dict(distances(shapes(name)), sep="/")
    outside = {path: int(n) for path, n in found.items() if "block" not in path}
    depth = {True: set(), False: set()}
    for path, n in outside.items():
        module = next(
            m for m in sorted((*BEFORE[name][0], *BEFORE[name][1], path), key=len) if f"{path}/".startswith(f"{m}/")
        )
        depth[n > 0].add(module)
    assert (depth[True], depth[False]) == BEFORE[name]
