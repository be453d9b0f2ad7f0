"""Groups and masks go by the path of a parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from flax import traverse_util

import deeplab as dl
from deeplab import optim
from deeplab.optim.depth import distances
from tests.models.members import MEMBERS

PARAMS = {
    "block1": {"dense": {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4)}, "norm": {"scale": jnp.ones((2, 4))}},
    "embed": {"embedding": jnp.ones((5, 3))},
    "head": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)},
}


def test_matrices_only_spares_biases_and_norms():
    mask = optim.matrices_only(PARAMS)
    assert mask["block1"] == {"dense": {"kernel": True, "bias": False}, "norm": {"scale": False}}
    assert mask["embed"]["embedding"]
    assert mask["head"] == {"kernel": True, "bias": False}


def test_groups_train_by_the_first_pattern_and_freeze():
    tx = optim.groups(
        {
            "^head/": optax.sgd(1.0),
            "kernel": optax.adamw(0.1, mask=optim.matrices_only),
            ".*": optax.set_to_zero(),
        }
    )
    state = tx.init(PARAMS)
    updates, _ = tx.update(PARAMS, state, PARAMS)
    assert (updates["head"]["kernel"] == -1).all()
    assert (updates["block1"]["dense"]["kernel"] < 0).all()
    assert (updates["block1"]["dense"]["bias"] == 0).all()
    assert (updates["embed"]["embedding"] == 0).all()


def test_groups_name_a_parameter_without_a_group():
    with pytest.raises(dl.UserError, match=r"block1/dense/bias.*end with"):
        optim.groups({"^head/": optax.sgd(1.0)}).init(PARAMS)


@pytest.mark.slow
def test_a_line_search_in_a_group_holds_the_other_parameters():
    """L-BFGS on the head of a frozen trunk is L-BFGS on a loss of the head alone."""
    trunk, head = jnp.array([1.0, -2.0, 0.5]), jnp.array([3.0, 1.0])

    def loss(params):
        return jnp.sum((params["trunk"] @ jnp.ones((3, 2)) - params["head"] ** 2) ** 2) + jnp.sum(params["trunk"] ** 2)

    def train(tx, params, value_fn):
        state = tx.init(params)
        for _ in range(4):
            value, grad = jax.value_and_grad(value_fn)(params)
            updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=value_fn)
            params = optax.apply_updates(params, updates)
        return params

    both = {"trunk": trunk, "head": head}
    tx = optim.groups({"^head": optax.lbfgs(), ".*": optax.set_to_zero()})
    trained = train(tx, both, loss)
    alone = train(optax.lbfgs(), {"head": head}, lambda p: loss({"trunk": trunk, **p}))
    np.testing.assert_array_equal(trained["trunk"], trunk)
    np.testing.assert_allclose(trained["head"], alone["head"], rtol=1e-6)
    assert float(loss(trained)) < 0.1 * float(loss(both))


def test_a_pattern_that_matches_nothing_names_the_nearest():
    for tx in (optim.groups({"^haed/": optax.sgd(1.0), ".*": optax.adam(0.1)}), optim.freeze(optax.sgd(1.0), "^haed/")):
        with pytest.raises(dl.UserError, match=r"'\^haed/' matches no parameter; did you mean 'head/"):
            tx.init(PARAMS)


def test_a_group_that_others_leave_nothing_names_itself():
    for tx in (
        optim.groups({".*": optax.sgd(1.0), "^head/": optax.sgd(0.1)}),
        optim.groups({"head": optax.sgd(1.0), "^head/": optax.sgd(0.1), ".*": optax.sgd(0.1)}),
    ):
        with pytest.raises(dl.UserError, match=r"the group '\^head/' has no parameter: those before it in"):
            tx.init(PARAMS)
    with pytest.raises(
        dl.UserError, match=r"the pattern '\.\*' freezes all \d+ parameters, so that nothing is trained"
    ):
        optim.freeze(optax.sgd(1.0), ".*").init(PARAMS)
    with pytest.raises(dl.UserError, match=r"'\(' is no regular expression"):
        optim.groups({"(": optax.sgd(1.0), ".*": optax.sgd(0.1)}).init(PARAMS)
    with pytest.raises(dl.UserError, match="the pattern 'embbed' matches no parameter"):
        optim.by_depth(optax.sgd(1.0), first="embbed").init({"block1": PARAMS, "embed": jnp.ones(2)})


def descend(tx, params, steps=3):
    """The parameters after some steps on a smooth loss."""
    state = tx.init(params)
    for t in range(steps):
        grads = jax.tree.map(lambda x, t=t: jnp.cos(3 * x + t) + 0.1 * x, params)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


def random_like(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}


def nested(flat):
    return traverse_util.unflatten_dict(flat, sep="/")


def test_what_is_frozen_keeps_its_bits_and_has_no_state():
    tx = optim.freeze(optax.adam(0.1), "^block1/")
    after = descend(tx, PARAMS)
    jax.tree.map(np.testing.assert_array_equal, after["block1"], PARAMS["block1"])
    rest = {name: tree for name, tree in PARAMS.items() if name != "block1"}
    jax.tree.map(np.testing.assert_array_equal, {name: after[name] for name in rest}, descend(optax.adam(0.1), rest))
    sizes = [sum(x.size for x in jax.tree.leaves(tree)) for tree in (tx.init(PARAMS), optax.adam(0.1).init(rest))]
    assert sizes[0] == sizes[1]


STACKED = {
    "embed/tokens/embedding": (7, 4), "blocks1/layers_0/dense/kernel": (2, 4, 4), "blocks1/layers_1/dense/bias": (2, 4),
    "blocks2/dense/kernel": (3, 4, 4), "norm/scale": (4,), "head/kernel": (4, 2),
}  # fmt: skip
# Layers 0 to 3 are those of the two periods in turn, 4 to 6 the second stack.
RATES = {
    "embed/tokens/embedding": [8], "blocks1/layers_0/dense/kernel": [7, 5], "blocks1/layers_1/dense/bias": [6, 4],
    "blocks2/dense/kernel": [3, 2, 1], "norm/scale": [0], "head/kernel": [0],
}  # fmt: skip


@pytest.mark.parametrize("optimizer", [optax.sgd, lambda rate: optax.adamw(rate, weight_decay=0.1)])
def test_by_depth_is_a_rate_of_its_own_for_each_layer(optimizer):
    flat = random_like(STACKED)
    found = traverse_util.flatten_dict(descend(optim.by_depth(optimizer(0.1), decay=0.7), nested(flat)), sep="/")
    for path, powers in RATES.items():
        layers = flat[path] if len(powers) > 1 else flat[path][None]
        alone = jnp.stack([descend(optimizer(0.1 * 0.7**n), layer) for n, layer in zip(powers, layers, strict=True)])
        np.testing.assert_allclose(found[path], alone.reshape(found[path].shape), rtol=1e-5, atol=1e-6)


def test_depths_of_layers_one_by_one_and_of_towers():
    shapes = {
        **{f"encoder/block{i}/dense/kernel": (2, 2) for i in range(1, 12)}, "encoder/embed/embedding": (3, 2),
        "decoder/stage1_block2/kernel": (2, 2), "decoder/stage2_block1/kernel": (2, 2), "head/bias": (2,),
    }  # fmt: skip
    found = traverse_util.flatten_dict(distances(nested(random_like(shapes))), sep="/")
    assert {path: int(n) for path, n in found.items()} == {
        **{f"encoder/block{i}/dense/kernel": 12 - i for i in range(1, 12)}, "encoder/embed/embedding": 12,
        "decoder/stage1_block2/kernel": 2, "decoder/stage2_block1/kernel": 1, "head/bias": 0,
    }  # fmt: skip
    with pytest.raises(dl.UserError, match=r"no layers by their names .*dense/kernel.*use dl.optim.groups"):
        optim.by_depth(optax.sgd(0.1)).init({"dense": {"kernel": jnp.ones((2, 2))}})


@pytest.mark.slow
def test_muon_of_stacked_kernels_is_muon_of_each():
    """And Adam for all else, also within a group by path; a convolution is one matrix."""
    shapes = {
        "embed/embedding": (5, 4), "blocks/dense/kernel": (3, 4, 6), "blocks/dense/bias": (3, 6),
        "blocks/experts/up_kernel": (2, 3, 4, 2), "stem/conv/kernel": (2, 2, 3, 5), "head/kernel": (4, 2),
    }  # fmt: skip
    flat = random_like(shapes)
    muon = optax.contrib.muon(0.1, weight_decay=0.1, muon_weight_dimension_numbers=optim.hidden_matrices)
    rest = optax.contrib.muon(0.1, muon_weight_dimension_numbers=lambda tree: jax.tree.map(lambda _: None, tree))

    def each(stacked):
        matrices = stacked.reshape(-1, *stacked.shape[-2:])
        own = [descend(optax.contrib.muon(0.1, weight_decay=0.1), matrix) for matrix in matrices]
        return jnp.stack(own).reshape(stacked.shape)

    alone = {
        **{path: each(flat[path]) for path in ("blocks/dense/kernel", "blocks/experts/up_kernel")},
        "stem/conv/kernel": each(flat["stem/conv/kernel"].reshape(12, 5)).reshape(2, 2, 3, 5),
        **{path: descend(rest, flat[path]) for path in ("embed/embedding", "blocks/dense/bias", "head/kernel")},
    }
    grouped = optim.groups({"kernel|bias": muon, ".*": rest})
    for tx in (muon, grouped):
        found = traverse_util.flatten_dict(descend(tx, nested(flat)), sep="/")
        for path, expected in alone.items():
            np.testing.assert_allclose(found[path], expected, rtol=1e-4, atol=1e-5, err_msg=path)
    optim.check_optimizer(muon, nested(flat))


SPARED = {
    "": "bias scale class mask length item_bias recurrent_bias scales",
    "gpt_oss": "score up_bias gate_bias down_bias",
    "griffin": "decay input_gate_bias recurrent_gate_bias",
    "mamba": "skip decay_log",
    "mamba2": "skip decay_log rate_bias",
    "deepseek_v3": "balance",
    "conformer": "content_bias place_bias",
}
"""What no weight decay pulls to 0, by the last name of its path: of every model, and of some; all else is decayed."""

DECAYED = """kernel embedding input_kernel recurrent_kernel up_kernel gate_kernel down_kernel input_gate_kernel
    recurrent_gate_kernel direction frequencies offsets position positions registers seasonal token trend types"""


@pytest.mark.parametrize("member", [pytest.param(m, marks=() if m in SPARED else pytest.mark.slow) for m in MEMBERS])
def test_what_is_decayed_of_each_model(member):
    """Vectors of stacked layers and of experts, of rank 2 and 3, were decayed: GPT-OSS's biases, Mamba's skips."""
    made = MEMBERS[member]
    params = jax.eval_shape(made.make().init, jax.random.key(0), made.inputs(2))["params"]
    flat = traverse_util.flatten_dict(optim.matrices_only(params))
    spared = {*SPARED[""].split(), *SPARED.get(member, "").split()}
    assert {path[-1] for path, kept in flat.items() if not kept} <= spared
    assert {path[-1] for path, kept in flat.items() if kept} <= {*DECAYED.split()} - spared
    assert {*SPARED.get(member, "").split()} <= {path[-1] for path in flat}


def test_a_kernel_is_decayed_whatever_its_folder_is_called():
    mask = optim.matrices_only({"blocks": {"dense": {"kernel": jnp.ones((3, 4)), "gain": jnp.ones((3, 4))}}})
    assert mask == {"blocks": {"dense": {"kernel": True, "gain": False}}}
