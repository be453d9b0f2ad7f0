"""Maps of a layer with channels: where in the image its features speak for the score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core.errors import UserError
from deeplab.explain.attribution import Attribution, Target, checked, scored, slope
from deeplab.explain.taps import split

Layer = Float[Array, "B ... C"]
Map = Float[Array, "B ..."]


def grad_cam(
    f: Callable[..., Any],
    x: Any,
    tap: str,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    positive: bool = True,
    resize: bool = False,
) -> Attribution:
    """The channels of a layer, each times the mean of its gradient over all places.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs with a leading axis of examples.
      tap: Name of a layer with outputs [B, places..., C]; see `deeplab.explain.taps`.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.
      positive: Whether only what speaks for the score is kept, as in the paper.
      resize: Whether the map is scaled to the places of the input, bilinearly.

    Returns:
      Values [B, places...].

    Raises:
      UserError: there is no such tap, it has no places, or the result is not finite.

    Example:
      >>> from deeplab.explain.taps import mark
      >>> f = lambda x: mark(2 * x, "maps").mean(axis=(1, 2)) @ jnp.array([1.0, -1.0])
      >>> x = jnp.array([[[[1.0, 0.0]], [[0.0, 1.0]]]])  # [B, H, W, C]
      >>> grad_cam(f, x, "maps").values.tolist()  # the second place speaks against
      [[[1.0], [0.0]]]

    Source: Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391
    """
    return _map(f, x, tap, target, args, lambda y, g: y * jnp.mean(g, axis=_places(g), keepdims=True), positive, resize)


def grad_cam_plus_plus(
    f: Callable[..., Any],
    x: Any,
    tap: str,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    resize: bool = False,
) -> Attribution:
    """Grad-CAM with a weight for each place, so that a small object counts as much as a large one.

    The weights of a channel are its positive gradients times g^2 / (2 g^2 + g^3 sum(y)), as for the exponential of the
    score.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs with a leading axis of examples.
      tap: Name of a layer with outputs [B, places..., C]; see `deeplab.explain.taps`.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.
      resize: Whether the map is scaled to the places of the input, bilinearly.

    Returns:
      Values [B, places...], none of them negative.

    Raises:
      UserError: there is no such tap, it has no places, or the result is not finite.

    Example:
      >>> from deeplab.explain.taps import mark
      >>> f = lambda x: mark(2 * x, "maps").mean(axis=(1, 2)) @ jnp.array([1.0, -1.0])
      >>> x = jnp.array([[[[1.0, 0.0]], [[0.0, 1.0]]]])  # [B, H, W, C]
      >>> (grad_cam_plus_plus(f, x, "maps").values > 0).tolist()
      [[[True], [False]]]

    Source: Chattopadhay et al. 2018, https://arxiv.org/abs/1710.11063
    """

    def weighed(y: Layer, g: Layer) -> Layer:
        below = 2 * g**2 + g**3 * jnp.sum(y, axis=_places(y), keepdims=True)
        alpha = jnp.where(below == 0, 0, g**2 / jnp.where(below == 0, 1, below))
        return y * jnp.sum(alpha * jax.nn.relu(g), axis=_places(g), keepdims=True)

    return _map(f, x, tap, target, args, weighed, True, resize)


def hires_cam(
    f: Callable[..., Any],
    x: Any,
    tap: str,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    positive: bool = True,
    resize: bool = False,
) -> Attribution:
    """The channels of a layer times their gradient, place by place.

    Equal to `grad_cam` where the layer is followed by a mean over all places and a linear layer.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs with a leading axis of examples.
      tap: Name of a layer with outputs [B, places..., C]; see `deeplab.explain.taps`.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.
      positive: Whether only what speaks for the score is kept.
      resize: Whether the map is scaled to the places of the input, bilinearly.

    Returns:
      Values [B, places...].

    Raises:
      UserError: there is no such tap, it has no places, or the result is not finite.

    Example:
      >>> from deeplab.explain.taps import mark
      >>> f = lambda x: mark(2 * x, "maps").mean(axis=(1, 2)) @ jnp.array([1.0, -1.0])
      >>> x = jnp.array([[[[1.0, 0.0]], [[0.0, 1.0]]]])  # [B, H, W, C]
      >>> hires_cam(f, x, "maps").values.tolist()
      [[[1.0], [0.0]]]

    Source: Draelos and Carin 2020, https://arxiv.org/abs/2011.08891
    """
    return _map(f, x, tap, target, args, jnp.multiply, positive, resize)


def layer_cam(
    f: Callable[..., Any],
    x: Any,
    tap: str,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    resize: bool = False,
) -> Attribution:
    """The channels of a layer times their positive gradient, place by place; of early layers, too.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs with a leading axis of examples.
      tap: Name of a layer with outputs [B, places..., C]; see `deeplab.explain.taps`.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.
      resize: Whether the map is scaled to the places of the input, bilinearly.

    Returns:
      Values [B, places...], none of them negative.

    Raises:
      UserError: there is no such tap, it has no places, or the result is not finite.

    Example:
      >>> from deeplab.explain.taps import mark
      >>> f = lambda x: mark(2 * x, "maps").mean(axis=(1, 2)) @ jnp.array([1.0, -1.0])
      >>> x = jnp.array([[[[1.0, 0.0]], [[0.0, 1.0]]]])  # [B, H, W, C]
      >>> layer_cam(f, x, "maps").values.tolist()
      [[[1.0], [0.0]]]

    Source: Jiang et al. 2021, https://doi.org/10.1109/TIP.2021.3089943
    """
    return _map(f, x, tap, target, args, lambda y, g: y * jax.nn.relu(g), True, resize)


def _map(
    f: Callable[..., Any],
    x: Any,
    tap: str,
    target: Target,
    args: Sequence[Any],
    weigh: Callable[[Layer, Layer], Layer],
    positive: bool,
    resize: bool,
) -> Attribution:
    """The sum over channels of a layer's values, weighed by their gradients."""
    upto, rest = split(f, tap)
    value = upto(x, *args)
    if value.ndim < 3:
        raise UserError(
            f"the tap {tap!r} has the shape {value.shape}, expected [B, places..., C]; name an earlier layer"
        )
    found = weigh(value, slope(*scored(rest, target, (x, *args)))(value)).sum(axis=-1)
    found = jax.nn.relu(found) if positive else found
    if resize:
        found = jax.image.resize(found, jax.tree.leaves(x)[0].shape[: found.ndim], "bilinear")
    return checked(Attribution(found))


def _places(y: Layer) -> tuple[int, ...]:
    return tuple(range(1, y.ndim - 1))
