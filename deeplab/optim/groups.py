"""Parameter groups and masks, by the path of a parameter."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from deeplab.core.errors import UserError
from deeplab.optim.paths import check_found, name, names, stacked_axes

_NOT_DECAYED = re.compile("(?:^|_)(?:bias|scale|decay_log)$")
"""Linen's names for offsets and for the gains of normalization layers, such as "up_bias"; and a state space's decays,
which their authors spare: https://github.com/state-spaces/mamba/blob/main/mamba_ssm/modules/mamba_simple.py."""
_MATRIX = re.compile("(?:kernel|embedding)$")


def groups(transforms: Mapping[str, optax.GradientTransformation]) -> optax.GradientTransformationExtraArgs:
    """Applies one transformation to each group of parameters, chosen by the parameter's path.

    The first regular expression that is found in a path decides. Paths are written "block_0/attention/qkv/kernel".
    Use `optax.set_to_zero()` for frozen parameters.

    A group's transformation sees the parameters of its group only. If it needs the loss function (`optax.lbfgs`), the
    other parameters are held at their current values.

    Args:
      transforms: Regular expressions and their transformations, in order. The last is usually ".*".

    Raises:
      UserError: A parameter matches no pattern, or a pattern no parameter, or none that is left by those before it.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = groups({"^head/": optax.sgd(1.0), ".*": optax.set_to_zero()})
      >>> params = {"body": {"kernel": jnp.ones(2)}, "head": {"kernel": jnp.ones(2)}}
      >>> update, _ = tx.update(params, tx.init(params), params)
      >>> update["body"]["kernel"].tolist(), update["head"]["kernel"].tolist()
      ([0.0, 0.0], [-1.0, -1.0])
    """

    def label(path: Any, _: Any) -> str:
        full = name(path)
        for pattern in transforms:
            if re.search(pattern, full):
                return pattern
        raise UserError(f"parameter {full} belongs to no group; the patterns are {list(transforms)}; end with '.*'")

    def labels(tree: Any) -> Any:
        check_found((pattern for pattern in transforms if pattern != ".*"), names(tree))
        chosen = jax.tree.map_with_path(label, tree)
        order, deciding = list(transforms), set(jax.tree.leaves(chosen))
        for number, pattern in enumerate(order):
            if pattern not in deciding and (pattern != ".*" or number < len(order) - 1):
                raise UserError(f"the group {pattern!r} has no parameter: those before it in {order} have them all")
        return chosen

    tx = optax.partition({**transforms}, labels, mask_compatible_extra_args=True)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> tuple[Any, Any]:
        if value_fn := extra_args.get("value_fn"):
            extra_args["value_fn"] = lambda group: value_fn(merge(group, params))
        return tx.update(updates, state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(tx.init, update)


def freeze(optimizer: optax.GradientTransformation, pattern: str) -> optax.GradientTransformationExtraArgs:
    """An optimizer that leaves some parameters as they are, and has no state for them.

    Their gradients are still computed; `dl.tuning.frozen` spares that too.

    Args:
      optimizer: Optimizer of the other parameters.
      pattern: Regular expression of the paths of frozen parameters.

    Raises:
      UserError: The pattern matches no parameter; the message names the nearest. Or it matches all of them.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = freeze(optax.adam(0.1), "embed|blocks")
      >>> state = tx.init({"embed": jnp.ones(5), "head": jnp.ones(3)})
      >>> sum(x.size for x in jax.tree.leaves(state))  # two moments of the head, and a count
      7
    """
    some = groups({pattern: optax.set_to_zero(), ".*": optimizer})

    def init(params: Any) -> Any:
        known = names(params)
        check_found([pattern], known)
        if all(re.search(pattern, path) for path in known):
            raise UserError(f"the pattern {pattern!r} freezes all {len(known)} parameters, so that nothing is trained")
        return some.init(params)

    return optax.GradientTransformationExtraArgs(init, some.update)


def mask(pattern: str) -> Callable[[Any], Any]:
    """Mask that is True for parameters whose path contains the regular expression; an argument of `optax.masked`.

    Example:
      >>> mask("^head/")({"body": {"bias": 0.0}, "head": {"bias": 0.0}})
      {'body': {'bias': False}, 'head': {'bias': True}}
    """
    return lambda tree: jax.tree.map_with_path(lambda path, _: bool(re.search(pattern, name(path))), tree)


def matrices_only(params: Any) -> Any:
    """Mask for weight decay: True for kernels and embeddings, False for biases and the gains of normalization layers.

    The name decides as well as the rank, because layers stacked by `nn.scan` have biases of rank 2. So has any other
    vector of theirs, and one of each expert: the axes along which layers or experts are stacked do not count.

    Example:
      >>> import jax.numpy as jnp
      >>> matrices_only({"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3), "scale": jnp.ones((4, 3))})
      {'bias': False, 'kernel': True, 'scale': False}
      >>> matrices_only({"blocks": {"skip": jnp.ones((4, 3)), "up_bias": jnp.ones((4, 2, 3))}})
      {'blocks': {'skip': False, 'up_bias': False}}

    Source: Radford et al. 2019 (GPT-2), https://github.com/karpathy/nanoGPT/blob/master/model.py.
    """

    def decayed(path: Any, leaf: Any) -> bool:
        full = name(path)
        last = full.rpartition("/")[2]
        # A kernel is one whatever the folder is called: "blocks/" may be a user's name for what is not stacked.
        axes = 0 if _MATRIX.search(last) else stacked_axes(full)
        return leaf.ndim - axes >= 2 and not _NOT_DECAYED.search(last)

    return jax.tree.map_with_path(decayed, params)


def merge(group: Any, params: Any, function: Callable[[Any, Any], Any] = lambda mine, _: mine) -> Any:
    """The parameters, with those of a group replaced; where the group has an `optax.MaskedNode`, nothing changes.

    Args:
      group: Tree of the parameters' structure, with `optax.MaskedNode()` in place of the others' leaves.
      params: All parameters.
      function: Replacement of a leaf, from the group's leaf and the parameter.

    Example:
      >>> merge({"a": 5.0, "b": optax.MaskedNode()}, {"a": 1.0, "b": 2.0})
      {'a': 5.0, 'b': 2.0}
    """

    def is_masked(x: Any) -> bool:
        return isinstance(x, optax.MaskedNode)

    return jax.tree.map(lambda g, p: p if is_masked(g) else function(g, p), group, params, is_leaf=is_masked)
