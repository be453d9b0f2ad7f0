"""Models of sound: padding changes nothing, and attention by distance is its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.models.speech import conformer, deep_speech, relative_attention

MODELS = {
    "deep_speech": deep_speech.DeepSpeech2(num_tokens=5, **deep_speech.VARIANTS["test"]),
    "conformer": conformer.Conformer(num_tokens=5, **conformer.VARIANTS["test"]),
}
SOUNDS, FRAMES = jax.random.normal(jax.random.key(0), (2, 24, 8)), jnp.array([24, 13])


@pytest.mark.parametrize("name", MODELS)
def test_padding_changes_nothing(name):
    """Neither what it holds nor how long it is; in training too, where statistics are taken over the batch."""
    model = MODELS[name]
    variables = jax.jit(model.init)(jax.random.key(1), SOUNDS, FRAMES)

    @jax.jit
    def run(x):
        return model.apply(variables, x, FRAMES), *model.apply(
            variables, x, FRAMES, train=True, mutable=["batch_stats"]
        )

    expected = run(SOUNDS)
    changed = run(jnp.pad(SOUNDS.at[1, 13:].set(9.0), ((0, 0), (0, 8), (0, 0)), constant_values=9.0))
    for i in (0, 1):
        np.testing.assert_allclose(changed[i][0, :6], expected[i][0], atol=1e-5)
        np.testing.assert_allclose(changed[i][1, :4], expected[i][1, :4], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), changed[2], expected[2])
    cut = jax.jit(model.apply)(variables, SOUNDS[1:, :13], FRAMES[1:])  # an array that ends with the example
    np.testing.assert_allclose(cut[0], expected[0][1, :4], atol=1e-5)


def test_scores_by_distance_go_to_their_positions():
    T = 5
    scores = jax.random.normal(jax.random.key(0), (2, 3, T, 2 * T - 1))
    out = relative_attention.relative_to_absolute(scores)
    for t in range(T):
        for s in range(T):
            np.testing.assert_array_equal(out[:, :, t, s], scores[:, :, t, T - 1 - t + s])


def test_sinusoids_are_those_of_the_distances_between_positions():
    """Row T - 1 is no distance, row 0 the farthest back."""
    rows = relative_attention.relative_sinusoids(4, 6)
    assert rows.shape == (7, 6)
    np.testing.assert_allclose(rows[3], [0, 0, 0, 1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(rows[0, :3], np.sin(3 / 10_000 ** (np.arange(3) / 3)), rtol=1e-5)
    np.testing.assert_allclose(rows[0, :3], -rows[-1, :3], atol=1e-6)


@pytest.mark.parametrize("kernel", [3, 4])
def test_a_depthwise_convolution_is_a_convolution_of_each_channel(kernel):
    layer, x = conformer.Depthwise(kernel), SOUNDS
    params = jax.jit(layer.init)(jax.random.key(1), x)
    weight = np.asarray(params["params"]["kernel"])
    out = layer.apply(params, x)
    low = kernel // 2
    for channel in range(8):
        full = np.convolve(SOUNDS[0, :, channel], weight[::-1, channel])
        np.testing.assert_allclose(out[0, :, channel], full[kernel - 1 - low :][:24], atol=1e-5)
