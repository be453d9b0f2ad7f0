"""Networks that were trained on what is known to decide: maps show it, and those of pictures that tell nothing fail."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

import deeplab as dl

GUIDED = "guided backpropagation"
RECOMMENDED = ("deeplift", "input x gradient", "integrated gradients")
TAGGED = 3  # the class of which all training images have the tag


def methods(base):
    return {
        "deeplift": lambda f, x, target, args: dl.explain.deeplift(f, x, base, target, args),
        "input x gradient": lambda f, x, target, args: (x - base) * dl.explain.gradient(f, x, target, args).values,
        "integrated gradients": lambda f, x, target, args: dl.explain.integrated_gradients(
            f, x, base, target, args, nodes=16
        ),
    }


def fitted(x, labels, steps, widths):
    """A small network after some steps of Adam, as a function of its parameters, and these."""
    model = dl.models.CNN(num_classes=int(labels.max()) + 1, widths=widths, hidden=32)
    params = jax.jit(model.init)(jax.random.key(0), x[:1])["params"]
    adam = optax.adam(optax.cosine_decay_schedule(3e-3, steps))

    @jax.jit
    def step(params, state, x, labels):
        def loss(params):
            logits = model.apply({"params": params}, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        updates, state = adam.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    state, rng = adam.init(params), np.random.default_rng(1)
    for _ in range(steps):
        rows = rng.integers(len(x), size=64)
        params, state = step(params, state, x[rows], labels[rows])
    return (lambda params: lambda x: model.apply({"params": params}, x)), params


def glyphs():
    """A cross, a saltire and a corner, of nine pixels each."""
    made = np.zeros((3, 5, 5))
    made[0, 2] = made[0, :, 2] = 1
    made[1] = np.maximum(np.eye(5), np.eye(5)[::-1])
    made[2, 0] = made[2, :, 0] = 1
    return made


def scenes(rng, patches, count, size):
    """Noise with one patch at a random place, the kind of the patch, and where it is."""
    x, chosen = rng.uniform(0, 0.5, (count, size, size, 1)), rng.integers(len(patches), size=count)
    mask, (height, width) = np.zeros(x.shape, bool), patches.shape[1:]
    for i, k in enumerate(chosen):
        row, column = rng.integers(size - height + 1), rng.integers(size - width + 1)
        place = np.s_[i, row : row + height, column : column + width, 0]
        x[place], mask[place] = np.maximum(x[place], patches[k]), True
    return x.astype(np.float32), chosen, mask


@pytest.mark.slow
@pytest.mark.parametrize(("size", "count", "steps", "widths"), [(16, 100, 300, (8, 16)), (20, 200, 500, (16, 32))])
def test_what_was_planted_is_pointed_at_and_guided_backpropagation_is_refused(size, count, steps, widths):
    rng = np.random.default_rng(0)
    train, labels, _ = scenes(rng, glyphs(), 4000, size)
    x, actual, mask = scenes(rng, glyphs(), count, size)
    f_of, params = fitted(train, labels, steps, widths)
    right = np.argmax(f_of(params)(x), axis=1) == actual
    assert right.mean() > 0.9
    x, actual, mask = (jnp.asarray(a[right]) for a in (x, actual, mask))
    lost = f_of(dl.explain.shuffled(params, jax.random.key(5)))
    tried = methods(jnp.asarray(train.mean(axis=0, keepdims=True)))
    tried[GUIDED] = lambda f, x, target, args: dl.explain.guided_backpropagation(f, x, target, args)
    report = dl.explain.faithfulness(
        f_of(params), x, actual, tried, key=jax.random.key(0), masks=mask, randomized=lost, steps=4, metrics=()
    )
    means = {name: told["pointing"].mean() for name, told in report.each.items()}
    assert min(means[name] for name in RECOMMENDED) >= 0.99
    assert means["random"] < 0.3
    assert set(report.insane()) == {GUIDED}
    with pytest.raises(dl.UserError, match=rf"{GUIDED} \(0\.[4-9]"):
        report.assert_sane()
    report.but([GUIDED]).assert_sane()


@functools.cache
def tagged_and_honest():
    """Networks of digits: one whose images of a class all had a tag in a corner, one where it was on any digit."""
    found = load_digits()
    x = np.pad(found.images / 16, ((0, 0), (2, 2), (2, 2)))[..., None].astype(np.float32)
    tag = np.zeros((1, 12, 12, 1), bool)
    tag[:, :2, :2] = True
    some = np.random.default_rng(0).random(len(x)) < 0.1
    sets = (np.where((chosen)[:, None, None, None] & tag, 1, x) for chosen in (found.target == TAGGED, some))
    nets = [fitted(images[:1297].astype(np.float32), found.target[:1297], 150, (8, 16)) for images in sets]
    return nets, x[1297:], np.where(tag, 1, x[1297:]).astype(np.float32), tag


@pytest.mark.parametrize("name", RECOMMENDED)
def test_a_tag_that_decides_is_found_and_one_that_does_not_is_left(name):
    """Any network's map may tell whether the tag is there; only that of the clever one says that it decides."""
    nets, clean, tagged, tag = tagged_and_honest()
    base = jnp.asarray(clean.mean(axis=0, keepdims=True))

    @jax.jit
    def mass(params, x):
        found = methods(base)[name](nets[0][0](params), x, TAGGED, ())
        return dl.explain.localization(getattr(found, "values", found), tag)["mass"]

    (_, clever), (_, honest) = nets
    there, absent, harmless = mass(clever, tagged), mass(clever, clean), mass(honest, tagged)

    def auc(high, low):
        return roc_auc_score(np.repeat([1, 0], [len(high), len(low)]), np.concatenate([high, low]))

    assert auc(there, absent) >= 0.9
    assert auc(there, harmless) >= 0.9
