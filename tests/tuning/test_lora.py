"""Adapters: they start as nothing, are trained alone, are merged exactly, and work with all else that runs do."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

import deeplab as dl
from deeplab import tuning
from deeplab.hub.mapping import flat
from deeplab.models.text.encoders import bert
from deeplab.train.initialize import with_weights
from deeplab.train.loop import fit
from deeplab.train.step import make_step
from tests import toys

MODEL = bert.Bert(vocab_size=11, num_classes=3, **bert.VARIANTS["test"])
TOKENS = np.random.default_rng(0).integers(1, 11, (24, 8)).astype(np.int32)
WHERE = r"(query|up)/kernel$"


def experiment(rank=2, alpha=4.0, dora=False, learning_rate=0.05, also="^head/"):
    arrays = {"tokens": TOKENS, "label": (TOKENS.sum(1) % 3).astype(np.int32)}
    whole = dl.Experiment(
        data=dl.data.Examples({"train": arrays, "test": arrays}, batch_size=8, epochs=2),
        model=MODEL,
        task=dl.tasks.Classification(fields=("tokens",)),
        optimizer=dl.optim.with_ema(optax.adam(learning_rate), 0.5),
    )
    return tuning.adapted(whole, tuning.Lora(rank, alpha, WHERE, dora), also) if rank else whole


def trained(experiment, steps=3):
    state, step = dl.init(experiment, jax.random.key(0)), jax.jit(make_step(experiment))
    for batch in [next(experiment.data.batches("train"))] * steps:
        state, metrics = step(state, batch)
    return state, metrics


@pytest.mark.parametrize("dora", [False, True])
def test_a_model_with_new_adapters_is_the_model(dora):
    few = experiment(dora=dora)
    params = dl.init(few, jax.random.key(0)).params
    plain = dl.init(experiment(rank=0), jax.random.key(0)).params
    jax.tree.map(np.testing.assert_array_equal, tuning.lora.base(params), plain)
    merged = few.model.lora.merged(params)
    if dora:
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), merged, plain)
    else:
        jax.tree.map(np.testing.assert_array_equal, merged, plain)


@pytest.mark.parametrize("dora", [False, True])
def test_adapters_alone_are_trained(dora):
    few = experiment(dora=dora)
    before, (after, metrics) = flat(dl.init(few, jax.random.key(0)).params), trained(few)
    kernels = {f"blocks/{name}/kernel" for name in ("attention/query", "feed_forward/up")}
    assert {path.removeprefix("adapters/").rpartition("/")[0] for path in before if path[:9] == "adapters/"} == kernels
    for path, leaf in flat(after.params).items():
        is_trained = path.startswith(("adapters/", "head/"))
        assert np.array_equal(leaf, before[path]) != is_trained, path
    state = sum(x.size for x in jax.tree.leaves(after.opt_state))
    size = sum(x.size for path, x in before.items() if path.startswith(("adapters/", "head/")))
    assert state == 3 * size + 2  # Adam's moments, an average, and their counts
    # Merged, it is a plain model that computes the same.
    merged = few.model.model.lora.merged(after.params)
    ours = few.model.apply({"params": after.params}, TOKENS)
    np.testing.assert_allclose(MODEL.apply({"params": merged}, TOKENS), ours, atol=1e-6)
    assert np.isfinite(float(metrics["grad_norm"].total))


def test_the_gradient_is_that_of_the_sum():
    """Against the product rule: dA = s G B', dB = s A' G, where G is the gradient of the merged kernel."""
    lora = tuning.Lora(2, 6.0, WHERE)
    params = jax.jit(MODEL.init)(jax.random.key(0), TOKENS)["params"]
    adapters = jax.tree.map(
        lambda x: 0.1 * jax.random.normal(jax.random.key(x.size), x.shape), lora.init(jax.random.key(1), params)
    )

    def loss(params):
        return jnp.sum(jnp.sin(MODEL.apply({"params": params}, TOKENS)))

    ours = jax.jit(jax.grad(lambda a: loss(lora.merged({**params, "adapters": a}))))(adapters)
    whole = jax.jit(jax.grad(loss))(lora.merged({**params, "adapters": adapters}))
    a, b = (adapters["blocks"]["attention"]["query"]["kernel"][name] for name in "ab")
    kernel = whole["blocks"]["attention"]["query"]["kernel"]
    found = ours["blocks"]["attention"]["query"]["kernel"]
    np.testing.assert_allclose(found["a"], 3 * kernel @ b.mT, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["b"], 3 * a.mT @ kernel, rtol=1e-4, atol=1e-5)


def test_each_stacked_layer_is_adapted_by_itself():
    lora, rng = tuning.Lora(2, 2.0, "kernel", dora=True), np.random.default_rng(0)
    stacked = {"blocks": {"dense": {"kernel": jnp.asarray(rng.normal(size=(3, 5, 4)), jnp.float32)}}}
    stacked["adapters"] = jax.tree.map(
        lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), lora.init(jax.random.key(0), stacked)
    )
    merged = lora.merged(stacked)["blocks"]["dense"]["kernel"]
    for i in range(3):
        one = jax.tree.map(
            lambda x, i=i: x[i], {"d": stacked["blocks"], "adapters": {"d": stacked["adapters"]["blocks"]}}
        )
        np.testing.assert_allclose(merged[i], lora.merged(one)["d"]["dense"]["kernel"], rtol=1e-5)
    w, own = stacked["blocks"]["dense"]["kernel"][0], jax.tree.map(lambda x: x[0], stacked["adapters"]["blocks"])
    total = w + own["dense"]["kernel"]["a"] @ own["dense"]["kernel"]["b"]
    length = own["dense"]["kernel"]["scale"] * jnp.linalg.norm(w, axis=0) / jnp.linalg.norm(total, axis=0)
    np.testing.assert_allclose(merged[0], length[None] * total, rtol=1e-5)


class Mixed(nn.Module):
    """A convolution, which is adapted by a sum, and dense layers called in both ways."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(4, (2, 2), name="conv")(x).mean((1, 2))
        return nn.Dense(3, name="second")(inputs=nn.Dense(5, use_bias=False, name="first")(x))


@pytest.mark.parametrize("dora", [False, True])
def test_adapted_is_merged_for_layers_of_any_kind(dora):
    model, x = tuning.Adapted(Mixed(), tuning.Lora(2, 3.0, "kernel", dora)), jnp.asarray(TOKENS[:, :, None, None] / 9.0)
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    rng = np.random.default_rng(0)
    params["adapters"] = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), params["adapters"])
    plain = Mixed().apply({"params": model.lora.merged(params)}, x)
    np.testing.assert_allclose(model.apply({"params": params}, x), plain, rtol=1e-4, atol=1e-5)
    assert not np.allclose(plain, Mixed().apply({"params": tuning.lora.base(params)}, x))


@pytest.mark.slow
def test_resumed_is_straight():
    toy = tuning.adapted(toys.experiment(), tuning.Lora(2, where="hidden/kernel", dora=True), "^head/")
    state, feed, _ = toys.start(toy)
    straight = fit(toy, jax.tree.map(jnp.copy, state), feed)
    part = fit(toy, state, feed, num_steps=7)
    end = fit(toy, part.state, feed, metrics=[x.tolist() for x in jax.tree.leaves(part.metrics)])
    assert toys.same(straight.state, end.state)


def test_first_values_come_from_weights_of_the_plain_model():
    plain = dl.init(experiment(rank=0), jax.random.key(5)).params
    weights = dl.Weights("plain", lambda tree: jax.tree.map(lambda x, _: x, plain, tree), skip=("^head/",))
    few = tuning.adapted(dataclasses.replace(experiment(rank=0), weights=weights), tuning.Lora(2, 4.0, WHERE))
    first = dl.init(few, jax.random.key(0))
    params = with_weights(first, few.weights).params
    jax.tree.map(np.testing.assert_array_equal, params["blocks"], plain["blocks"])
    jax.tree.map(np.testing.assert_array_equal, params["head"], first.params["head"])
    jax.tree.map(np.testing.assert_array_equal, params["adapters"], first.params["adapters"])


def test_adapters_are_sharded_as_their_kernels():
    mesh = dl.scale.make_mesh("data=2,fsdp=2,model=2")
    few = experiment()
    homes = dl.scale.rules.state_shardings(dl.init(few, jax.random.key(0)), few.sharding_rules, mesh, smallest=10**9)
    own = homes.params["adapters"]["blocks"]["attention"]["query"]["kernel"]
    assert own["a"].spec == P(None, "fsdp", None)
    assert own["b"].spec == P(None, None, "model")


@pytest.mark.parametrize(
    ("lora", "also", "message"),
    [
        (
            tuning.Lora(where="querry/kernel"),
            "",
            r"'querry/kernel' matches no parameter; did you mean '.*query/kernel'",
        ),
        (tuning.Lora(where="query/bias"), "", "'query/bias' matches no parameter"),
        (tuning.Lora(), "^haed/", r"'\^haed/' matches no parameter"),
    ],
)
def test_a_pattern_that_matches_nothing(lora, also, message):
    with pytest.raises(dl.UserError, match=message):
        dl.init(tuning.adapted(experiment(rank=0), lora, also), jax.random.key(0))


@pytest.mark.slow
def test_what_is_frozen_keeps_its_bits_and_has_no_state():
    few = tuning.frozen(experiment(rank=0), "^(embed|blocks)/")
    before, (after, _) = flat(dl.init(few, jax.random.key(0)).params), trained(few)
    for path, leaf in flat(after.params).items():
        assert np.array_equal(leaf, before[path]) == path.startswith(("embed", "blocks")), path
    head = sum(x.size for path, x in before.items() if path.startswith("head/"))
    assert sum(x.size for x in jax.tree.leaves(after.opt_state)) == 3 * head + 2
    # The norm of the gradient is that of the head's alone.
    whole = experiment(rank=0)
    batch = next(whole.data.batches("train"))

    def loss(head):
        logits = MODEL.apply({"params": {**dl.init(whole, jax.random.key(0)).params, "head": head}}, batch["tokens"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()

    expected = optax.tree.norm(jax.grad(loss)(dl.init(whole, jax.random.key(0)).params["head"]))
    np.testing.assert_allclose(trained(few, 1)[1]["grad_norm"].total, expected, rtol=1e-5)


def test_an_average_of_equal_structures():
    a, b = ({"w": jnp.full(3, x, jnp.bfloat16)} for x in (1.0, 2.0))
    assert tuning.average(a, b)["w"].tolist() == [1.5] * 3
    assert tuning.average(a, b)["w"].dtype == jnp.bfloat16
    for wrong in ((), (a, {"v": a["w"]}), (a, {"w": jnp.ones(2)})):
        with pytest.raises(dl.UserError, match="expected one or more of equal names and shapes"):
            tuning.average(*wrong)
    with pytest.raises(
        dl.UserError, match=r"a list is one tree of parameters; average\(\*trees\) takes them one by one"
    ):
        tuning.average([a, b])


KERNELS = {"one": {"kernel": jnp.ones((3, 4))}, "two": {"kernel": jnp.ones((3, 4))}}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (tuning.Lora(2, where="one/"), "adapters/two/kernel/a, adapters/two/kernel/b on one side alone"),
        (tuning.Lora(4, where="kernel"), r"ranks \[2\] found"),
        (tuning.Lora(2, where="kernel", dora=True), "adapters/one/kernel/scale"),
    ],
)
def test_adapters_of_another_lora_are_not_merged(other, message):
    """A part of them would be left out in silence, or multiplied by another alpha / rank."""
    adapters = tuning.Lora(2, where="kernel").init(jax.random.key(0), KERNELS)
    with pytest.raises(dl.UserError, match=message):
        other.merged({**KERNELS, "adapters": adapters})
    with pytest.raises(dl.UserError, match="the adapters are not those of Lora"):
        other.merged(KERNELS)


def test_a_column_of_zeros_has_no_direction():
    params, lora = {"kernel": jnp.zeros((3, 2)).at[:, 0].set(1.0)}, tuning.Lora(2, where="kernel", dora=True)
    merged = lora.merged({**params, "adapters": lora.init(jax.random.key(0), params)})
    np.testing.assert_array_equal(merged["kernel"], params["kernel"])
