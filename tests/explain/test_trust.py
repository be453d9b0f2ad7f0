"""Metrics of explanations: equal to their definitions, and right about what is known to be true or false."""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplab as dl
from deeplab.explain.trust import controls, features, randomization, report
from deeplab.explain.trust.imputation import imputed

KEY = jax.random.key(0)
WEIGHTS = jnp.array([4.0, -3.0, 2.0, 1.0, 0.0, 0.5])


def linear(x):
    return x @ WEIGHTS


def gradient(f, x, target, args):
    score, args = dl.explain.scored(f, target, args)
    return jax.grad(lambda x: score(x, *args).sum())(x)


def times_input(f, x, target, args):
    return x * gradient(f, x, target, args)


def shown(f, x, target, args):
    """A map of the input only."""
    return jnp.abs(x)


def example(count=5):
    return jax.random.normal(KEY, (count, 6))


def test_areas_are_those_of_every_feature_inserted_and_deleted_by_hand():
    x, values = example(), jax.random.normal(jax.random.key(1), (5, 6))
    found = dl.explain.insertion_deletion(linear, x, values, steps=6, baseline=0.5, chunk=4)
    for i in range(5):
        order = np.argsort(-np.asarray(values[i]))
        inserted = [np.where(np.isin(np.arange(6), order[:k]), x[i], 0.5) @ WEIGHTS for k in range(7)]
        deleted = [np.where(np.isin(np.arange(6), order[:k]), 0.5, x[i]) @ WEIGHTS for k in range(7)]
        np.testing.assert_allclose(found.insertion[i], np.trapezoid(inserted, dx=1 / 6), rtol=1e-5)
        np.testing.assert_allclose(found.deletion[i], np.trapezoid(deleted, dx=1 / 6), rtol=1e-5)


def test_no_order_is_better_than_that_of_a_linear_models_own_contributions():
    x = example(1)
    best = dl.explain.insertion_deletion(linear, x, x * WEIGHTS[None], steps=6)
    orders = jnp.array(list(itertools.permutations(range(6))), jnp.float32)
    every = dl.explain.insertion_deletion(linear, jnp.repeat(x, 720, axis=0), orders, steps=6)
    np.testing.assert_allclose(best.insertion[0], every.insertion.max(), rtol=1e-5)
    np.testing.assert_allclose(best.deletion[0], every.deletion.min(), rtol=1e-5)


def test_channels_of_a_pixel_go_together():
    x = jax.random.uniform(KEY, (2, 3, 3, 4))
    values = features.grouped(x, (-1,))
    seen = []
    dl.explain.insertion_deletion(lambda x: seen.append(x.shape) or x.sum(axis=(1, 2, 3)), x, values, steps=9, chunk=1)
    kept = features.replaced(x, features.ranks(values) < 4, 0.0)
    assert sorted(np.unique(np.asarray((kept == 0).sum(axis=-1)))) == [0, 4]
    assert set(seen) == {(2, 3, 3, 4)}


def test_a_linear_model_is_told_wholly_by_its_gradient():
    x, keys = example(), jax.random.key(3)
    values = jnp.broadcast_to(WEIGHTS[None], x.shape)
    np.testing.assert_allclose(dl.explain.infidelity(linear, x, values, key=keys), 0, atol=1e-6)
    twice = dl.explain.infidelity(linear, x, 2 * values, key=keys)
    assert float(twice.min()) > 1e-2
    np.testing.assert_allclose(dl.explain.infidelity(linear, x, 2 * values, key=keys, normalize=True), 0, atol=1e-6)
    np.testing.assert_allclose(dl.explain.sensitivity_n(linear, x, x * WEIGHTS[None], key=keys), 1, atol=1e-4)
    np.testing.assert_allclose(dl.explain.sensitivity_n(linear, x, -x * WEIGHTS[None], key=keys), -1, atol=1e-4)


def test_the_sensitivity_of_a_method_is_its_largest_relative_change():
    x = example()
    assert float(dl.explain.max_sensitivity(lambda x: jnp.broadcast_to(WEIGHTS[None], x.shape), x, key=KEY).max()) == 0
    moves = [0.02 * jax.random.uniform(k, (1, *x.shape[1:]), x.dtype, -1, 1) for k in jax.random.split(KEY, 10)]
    by_hand = jnp.stack([jnp.linalg.norm(m, axis=1) for m in moves]).max(axis=0) / jnp.linalg.norm(x, axis=1)
    np.testing.assert_allclose(dl.explain.max_sensitivity(lambda x: x, x, key=KEY), by_hand, rtol=1e-4)


@pytest.mark.slow
def test_holes_of_a_plane_are_filled_by_the_plane():
    """A plane is its own mean over the eight neighbors; only a hole at the border is told by fewer of them."""
    rows, columns = jnp.mgrid[:9, :9] / 9
    plane = (2 * rows - columns)[None, ..., None]
    hole = jax.random.bernoulli(KEY, 0.6, (1, 9, 9, 1)).at[:, [0, -1]].set(False).at[:, :, [0, -1]].set(False)
    np.testing.assert_allclose(imputed(plane, hole), plane, atol=1e-5)
    noisy = imputed(plane, hole, key=KEY) - plane
    assert 0.005 < float(noisy[hole].std()) < 0.02
    assert float(jnp.abs(noisy[~hole]).max()) == 0


def test_holes_solve_the_papers_equations_at_the_border_too():
    """Each removed pixel is the weighted mean of those of its eight neighbors that exist."""
    image = np.array(jax.random.normal(KEY, (5, 5)))
    hole = np.array(jax.random.bernoulli(jax.random.key(1), 0.6, (5, 5)))
    places = [tuple(place) for place in np.argwhere(hole)]
    matrix, known = np.zeros((len(places), len(places))), np.zeros(len(places))
    for i, (row, column) in enumerate(places):
        for down, right in itertools.product((-1, 0, 1), repeat=2):
            other = (row + down, column + right)
            if (down, right) == (0, 0) or not all(0 <= k < 5 for k in other):
                continue
            weight = 1 / 6 if 0 in (down, right) else 1 / 12
            matrix[i, i] += weight
            if other in places:
                matrix[i, places.index(other)] -= weight
            else:
                known[i] += weight * image[other]
    expected = image.copy()
    expected[hole] = np.linalg.solve(matrix, known)
    found = imputed(jnp.asarray(image)[None, ..., None], jnp.asarray(hole)[None, ..., None])
    np.testing.assert_allclose(found[0, ..., 0], expected, atol=1e-4)


@pytest.mark.slow
def test_road_prefers_the_map_that_the_score_follows():
    x = jax.random.normal(KEY, (8, 6, 6, 1))
    weights = jax.random.normal(jax.random.key(2), (6, 6, 1))
    score = lambda x: jnp.sum(x * weights[None], axis=(1, 2, 3))  # noqa: E731
    right = dl.explain.road(score, x, x * weights[None], key=KEY)
    wrong = dl.explain.road(score, x, -x * weights[None], key=KEY)
    assert float(right.min()) > 0 > float(wrong.max())


def test_a_planted_object_is_pointed_at_and_a_flat_map_is_at_chance():
    mask = jnp.zeros((2, 8, 8, 1), bool).at[:, 2:4, 2:6].set(True)
    inside = dl.explain.localization(2.0 * mask, mask, top=8)
    assert {name: value.tolist() for name, value in inside.items()} == {name: [1.0, 1.0] for name in inside}
    flat = dl.explain.localization(jnp.ones(mask.shape), mask)
    np.testing.assert_allclose(flat["mass"], 8 / 64)
    np.testing.assert_allclose(flat["auc"], 0.5)
    assert np.isnan(dl.explain.localization(jnp.ones(mask.shape), ~mask & mask)["pointing"]).all()


def test_sparseness_of_a_flat_map_and_of_a_single_feature():
    flat, single = jnp.ones((1, 4, 5)), jnp.zeros((1, 4, 5)).at[0, 1, 2].set(-3.0)
    for metric, (of_flat, of_single) in {
        dl.explain.gini: (0.0, 0.95),
        dl.explain.entropy: (np.log(20), 0.0),
        dl.explain.effective_complexity: (20, 1),
    }.items():
        np.testing.assert_allclose((metric(flat)[0], metric(single)[0]), (of_flat, of_single), atol=1e-6)


MODEL = nn.Sequential([nn.Dense(16), nn.relu, nn.Dense(16), nn.relu, nn.Dense(3)])


@functools.cache
def trained():
    """A classifier of which of three blocks of inputs is the largest, by some hundred steps of descent."""
    x = jax.random.normal(jax.random.key(4), (256, 12))
    labels = jnp.argmax(x.reshape(256, 3, 4).sum(axis=2), axis=1)
    params = jax.jit(MODEL.init)(KEY, x)["params"]

    def loss(params):
        return -jnp.mean(jax.nn.log_softmax(MODEL.apply({"params": params}, x))[jnp.arange(256), labels])

    def step(params, _):
        return jax.tree.map(lambda p, g: p - 0.5 * g, params, jax.grad(loss)(params)), None

    return jax.jit(lambda p: jax.lax.scan(step, p, length=300)[0])(params), x[:32], labels[:32]


@pytest.mark.slow
def test_weights_are_lost_by_layers_and_a_map_of_the_input_does_not_notice():
    params, x, labels = trained()
    f_of = lambda params: lambda x: MODEL.apply({"params": params}, x)  # noqa: E731
    found = dl.explain.randomization(lambda p: gradient(f_of(p), x, labels, ()), params, key=KEY)
    assert list(found) == ["layers_4", "layers_2", "layers_0", "all"]
    assert abs(float(found["all"].mean())) < report.SANE
    blind = dl.explain.randomization(lambda p: shown(f_of(p), x, labels, ()), params, key=KEY, order="independent")
    assert {float(value.min()) for value in blind.values()} == {1.0}
    some = dl.explain.shuffled(params, KEY, ["layers_2"])
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), params, some)
    assert (changed["layers_2"]["kernel"], changed["layers_4"]["kernel"]) == (True, False)
    np.testing.assert_array_equal(*(np.sort(p["layers_2"]["kernel"], axis=None) for p in (params, some)))
    with pytest.raises(dl.UserError, match="'layers_9'"):
        dl.explain.shuffled(params, KEY, ["layers_9"])
    with pytest.raises(dl.UserError, match="cascade"):
        dl.explain.randomization(lambda p: x, params, key=KEY, order="cascad")


def test_smooth_and_efficient_randomization():
    params, x, labels = trained()
    method_of = lambda p: gradient(lambda x: MODEL.apply({"params": p}, x), x, labels, ())  # noqa: E731
    assert randomization.rise_of_complexity(method_of, params, key=KEY).shape == (32,)
    same = randomization.rise_of_complexity(lambda p: x, params, key=KEY)
    np.testing.assert_allclose(same, 0, atol=1e-6)
    averaged = randomization.smooth(lambda x: x, key=KEY, scale=0.01, n=64)(x)
    np.testing.assert_allclose(averaged, x, atol=0.05)


def test_correlation_of_ranks_is_scipys():
    from scipy.stats import spearmanr

    a, b = jnp.round(example() * 2), jnp.round(jax.random.normal(jax.random.key(7), (5, 6)) * 2)
    expected = [spearmanr(p, q).statistic for p, q in zip(a, b, strict=True)]
    np.testing.assert_allclose(randomization.rank_correlation(a, b), expected, atol=1e-6)


@pytest.mark.slow
def test_an_attack_moves_the_map_and_keeps_the_class():
    params, x, _ = trained()
    logits = lambda x: MODEL.apply({"params": params}, x)  # noqa: E731
    smoothed = lambda x: jax.grad(lambda x: jnp.sum(jax.nn.softmax(logits(x)).max(axis=1)))(x)  # noqa: E731
    found = dl.explain.attack_explanation(logits, smoothed, x, eps=0.3, share=0.25)
    assert float(jnp.abs(found.inputs - x).max()) <= 0.3 + 1e-6
    np.testing.assert_array_equal(logits(found.inputs).argmax(axis=1), logits(x).argmax(axis=1))
    assert float(found.overlap.mean()) < 0.8
    still = dl.explain.attack_explanation(logits, lambda x: jnp.ones_like(x) * jnp.arange(12.0)[None], x, eps=0.3)
    assert still.overlap.tolist() == [1.0] * 32


def test_a_report_ranks_beside_its_controls_and_names_what_is_not_sane():
    params, x, labels = trained()
    f_of = lambda params: lambda x: MODEL.apply({"params": params}, x)  # noqa: E731
    f, lost = f_of(params), f_of(dl.explain.shuffled(params, KEY))

    def deeplift(f, x, target, args):
        return dl.explain.deeplift(f, x, 0.0, target, args)

    methods = {
        "gradient": gradient,
        "input x gradient": times_input,
        "deeplift": deeplift,
        "shown": shown,
        "wrong": lambda *a: -times_input(*a),
    }
    every = ("sensitivity_n", "gini", "infidelity", "max_sensitivity")
    found = dl.explain.faithfulness(
        f, x, labels, methods, key=KEY, randomized=lost, seeds=[lost], metrics=every, steps=12
    )
    names = list(found.rows)
    assert {*methods, "random", "edges"} == set(names)
    assert names[0] in ("input x gradient", "deeplift")
    assert names[-1] == "wrong"
    mean, (low, _) = found.above("deeplift", "random")
    assert low > 0.2 < mean
    best, (lead, (least, most)) = names[0], found.above(names[0], "edges")
    assert found.lead().startswith(f"{best} is ")
    assert f"{lead:.3g} ({least:.3g} to {most:.3g}) above edges, on the same 32 examples" in found.lead()
    assert abs(found.rows["random"]["faithful"][0]) < 0.15
    assert found.rows["deeplift"]["gap"][0] < 1e-5
    assert "gap" not in found.rows["shown"]
    assert set(found.insane()) == {"shown"}
    np.testing.assert_array_equal(found.each["shown"]["seeds"], 1)
    with pytest.raises(dl.UserError, match=r"shown \(1\.00\)"):
        found.assert_sane()
    assert "shown (fails)" in found.markdown()
    assert found._repr_html_().count("<tr>") == 1 + len(names)
    with pytest.raises(dl.UserError, match="no model with randomized weights"):
        report.Report({"a": {"faithful": np.ones(3)}}).assert_sane()
    with pytest.raises(dl.UserError, match="did you mean 'deeplift'"):
        found.above("deepliftt", "random")


def test_an_example_that_is_not_finite_has_no_part_in_the_ranking():
    """It broke the order of the rows, and so the method that is named; and it was counted."""
    nan = np.nan
    faithful = {"a": [0.1, 0.2, nan], "b": [0.8, 0.7, 0.9], "c": [nan] * 3, "d": [0.5, 0.4, 0.6]}
    faithful["random"] = [0.0, nan, 0.1]
    found = report.Report({name: {"faithful": np.array(values)} for name, values in faithful.items()})
    assert list(found.rows) == ["b", "d", "a", "random", "c"]
    assert found.lead() == "b is 0.8 above random, on the same 2 examples, in the column faithful"


def test_bad_input_is_told():
    x = example()
    with pytest.raises(dl.UserError, match="1 in place of axes"):
        dl.explain.insertion_deletion(linear, x, x[:, :3])
    with pytest.raises(dl.UserError, match="has no direction"):
        dl.explain.faithfulness(linear, jnp.ones((2, 6), int), None, {}, key=KEY)
    with pytest.raises(dl.UserError, match="did you mean 'gini'"):
        dl.explain.faithfulness(linear, x, None, {}, key=KEY, metrics=("ginni",))
    with pytest.raises(dl.UserError, match="rows of every report"):
        dl.explain.faithfulness(linear, x, None, {"random": times_input}, key=KEY)


def test_edges_are_where_an_image_changes():
    image = jnp.zeros((1, 6, 6, 1)).at[:, :, 3:].set(1.0)
    assert controls.edge_map(image)[0, 2, :, 0].tolist() == [0, 0, 0.5, 0.5, 0, 0]
    assert controls.edge_map(jnp.array([[1.0, 3.0]]), baseline=2.0).tolist() == [[1.0, 1.0]]
