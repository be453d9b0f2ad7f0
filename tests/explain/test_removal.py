"""Trainings without features, and on shuffled labels: chance where what counts is gone, and equal to solo trainings."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats
from sklearn import datasets

import deeplab as dl
from deeplab.explain.trust import removal
from deeplab.explain.trust.imputation import imputed

KEY = jax.random.key(0)
N, T = 240, 200
LABELS = jnp.arange(N + T) % 2
PIXELS = jax.random.uniform(KEY, (N + T, 4, 4, 1))
PLANTED = jnp.zeros((4, 4, 1), bool).at[1, 2].set(True).at[3, 0].set(True)
X = jnp.where(PLANTED[None], 0.5 + 0.4 * (2 * LABELS - 1)[:, None, None, None] * PIXELS, PIXELS)
TRAIN, TEST = X[:N], X[N:]


def logits(params, x):
    return x.reshape(len(x), -1) @ params["w"] + params["b"][None]


def trained(x, labels, key):
    """A linear classifier, after some steps from a random start."""

    def step(params, _):
        loss = lambda p: optax.softmax_cross_entropy_with_integer_labels(logits(p, x), labels).mean()  # noqa: E731
        return jax.tree.map(lambda p, g: p - g, params, jax.grad(loss)(params)), None

    start = {"w": 0.1 * jax.random.normal(key, (16, 2)), "b": jnp.zeros(2)}
    return jax.lax.scan(step, start, length=100)[0]


@jax.jit
def outcome(train, test, key):
    return jnp.mean(logits(trained(train, LABELS[:N], key), test).argmax(axis=1) == LABELS[N:])


def retrained(maps, **given):
    values = maps if isinstance(maps, tuple) else tuple(jnp.broadcast_to(maps, x.shape) for x in (TRAIN, TEST))
    return jax.jit(lambda: dl.explain.roar(outcome, TRAIN, TEST, values, key=KEY, **given))()


def test_the_features_with_the_highest_values_are_removed():
    x, values = jax.random.normal(KEY, (3, 4, 4, 2)), jax.random.normal(jax.random.key(1), (3, 4, 4, 1))
    found = np.asarray(dl.explain.without_top(x, values, 0.25, -7.0))
    for image, by, made in zip(np.asarray(x), np.asarray(values), found, strict=True):
        gone = np.isin(np.arange(16), np.argsort(-by.reshape(-1))[:4]).reshape(4, 4)
        np.testing.assert_array_equal(made, np.where(gone[..., None], -7.0, image))
    fill = lambda x, removed: imputed(x, removed)  # noqa: E731
    both = lambda: (dl.explain.without_top(x, values, 0.25, fill), fill(x, jnp.asarray((found == -7.0)[..., :1])))  # noqa: E731
    np.testing.assert_array_equal(*jax.jit(both)())
    with pytest.raises(dl.UserError, match="the map has the shape"):
        dl.explain.without_top(x, values[..., 0], 0.25)


def test_without_the_planted_pixels_nothing_is_left_to_learn():
    """2 of 16 pixels tell the class: without them it is chance; with as many others gone, nothing is lost."""
    run = jax.jit(lambda v: dl.explain.roar(outcome, TRAIN, TEST, v, key=KEY, fractions=(0.0, 0.125, 0.5, 0.875)))
    planted = tuple(jnp.broadcast_to(1.0 * PLANTED, x.shape) for x in (TRAIN, TEST))
    keys = jax.random.split(jax.random.key(7))
    random = run(tuple(jax.random.uniform(k, x.shape) for k, x in zip(keys, (TRAIN, TEST), strict=True))).mean
    true, others = run(planted).mean, run(tuple(-values for values in planted)).mean
    assert true[0] > 0.95
    np.testing.assert_allclose(true[1:], 0.5, atol=0.1)
    assert others.min() > 0.95
    assert random[1] > 0.9
    assert random[2] > 0.75 > random[3]


@pytest.mark.slow
def test_members_are_solo_trainings_with_students_interval():
    found = retrained(1.0 * PLANTED, fractions=(0.0, 0.0625), seeds=3, baseline=0.5, chunk=2)
    keys = jax.random.split(KEY, 3)
    first = PLANTED.at[3, 0].set(False)  # of equal values the first one
    for fraction, gone in enumerate((0 * PLANTED, first)):
        each = [outcome(*(jnp.where(gone[None], 0.5, x) for x in (TRAIN, TEST)), key) for key in keys]
        np.testing.assert_allclose(found.each[fraction], each, atol=1e-6)
        low, high = stats.t.interval(0.95, 2, np.mean(each), max(stats.sem(each), 1e-12))
        np.testing.assert_allclose((found.low[fraction], found.high[fraction]), (low, high), atol=1e-4)
    for freedom in (1, 4, 30):
        np.testing.assert_allclose(removal._quantile(freedom, 0.9), stats.t.ppf(0.95, freedom), rtol=1e-3)


@pytest.mark.parametrize(("given", "told"), [({"seeds": 1}, "seeds=1"), ({"fractions": (1.5,)}, r"fractions=\(1.5,\)")])
def test_what_has_no_interval_or_no_meaning_is_refused(given, told):
    with pytest.raises(dl.UserError, match=told):
        retrained(1.0 * PLANTED, **given)


@pytest.mark.slow
def test_maps_of_shuffled_labels_are_other_maps_and_the_input_is_not():
    shown = TEST[:8]

    def gradients(labels, key):
        f = lambda x: logits(trained(TRAIN, labels, key), x)  # noqa: E731
        return dl.explain.gradient(f, shown, target=1).values

    found = jax.jit(lambda: dl.explain.randomized_labels(gradients, LABELS[:N], key=KEY, seeds=4))()
    assert found.shuffled.shape == found.seeds.shape == (4, 8)
    assert abs(float(found.shuffled.mean())) < 0.3
    assert float(found.seeds.min()) > 0.8
    blind = dl.explain.randomized_labels(lambda labels, key: shown, LABELS[:N], key=KEY, seeds=2)
    np.testing.assert_allclose((blind.shuffled.min(), blind.seeds.min()), 1, atol=1e-6)


def test_a_pair_of_models_has_one_start_and_the_labels_are_those_given_in_another_order():
    def told(labels, key):  # the labels and the start themselves, as a map of one example
        return jnp.concatenate([1.0 * labels, jax.random.uniform(key, (1,))])[None]

    seen = []
    jax.tree.map(seen.append, jax.vmap(told, in_axes=(0, None))(jnp.stack([jnp.arange(9)] * 2), KEY))
    found = dl.explain.randomized_labels(told, jnp.arange(9), key=KEY, seeds=3)
    assert float(found.seeds.min()) == 1  # the same labels, and a number below all others but one
    assert float(found.shuffled.max()) < 0.9


@pytest.mark.slow
def test_on_digits_a_random_map_loses_more_than_one_that_tells_the_class():
    """Maps of the label: where their highest features were, tells it, and training finds it out."""
    digits = datasets.load_digits()
    x, y = np.float32(digits.images / 16)[..., None], digits.target
    sets = {name: {"x": x[at], "label": y[at]} for name, at in (("train", slice(1437)), ("test", slice(1437, None)))}
    data = dl.data.Examples(sets, batch_size=128, epochs=15)
    exp = dl.Experiment(data, dl.models.MLP(10, (32,)), dl.tasks.Classification(fields=("x",)), optax.adam(1e-2))
    batches = jax.tree.map(lambda *rows: jnp.stack(rows), *data.batches("train"))
    step, (train, test) = dl.make_step(exp), (jnp.asarray(sets[name]["x"]) for name in ("train", "test"))

    def model(x, key):
        moved = lambda state, batch: (step(state, batch | {"x": x[batch["id"]]})[0], None)  # noqa: E731
        params = jax.lax.scan(moved, dl.init(exp, key), batches)[0].params
        return lambda x: exp.model.apply({"params": params}, x)

    def accuracy(train, test, key):
        return jnp.mean(model(train, key)(test).argmax(axis=1) == sets["test"]["label"])

    def of(method):
        f = model(train, KEY)
        return tuple(method(f, part, jnp.asarray(sets[n]["label"])) for n, part in (("train", train), ("test", test)))

    run = jax.jit(lambda maps: dl.explain.roar(accuracy, train, test, maps, key=KEY))
    random = run(of(lambda f, x, y: jax.random.uniform(KEY, x.shape)))
    paths = run(of(lambda f, x, y: dl.explain.integrated_gradients(f, x, train.mean(axis=0), target=y).values))
    assert random.mean[0] > 0.88
    assert random.high[5] < 0.4
    assert paths.mean[1] < random.low[1]
    assert paths.low[4] > 0.95 > random.high[4]
