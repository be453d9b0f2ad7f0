"""Models of tables, as a function of numbers alone: their signs are two categories."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from deeplab.models.tabular import ft_transformer, resnet
from tests.models.members.base import Family, member, normal


class Tabled(nn.Module):
    """A model of five numbers, and of two categories that are the signs of the first two."""

    model: nn.Module

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return self.model(x, (x[:, :2] > 0).astype(jnp.int32), train=train)


def tabled(make: type[nn.Module], **arguments) -> Tabled:
    return Tabled(make(outputs=3, cardinalities=(2, 3), **arguments))


residual, transformer = (
    functools.partial(tabled, make) for make in (resnet.TabularResNet, ft_transformer.FTTransformer)
)
columns = normal(5)
MEMBERS = {
    "tabular_resnet_dropout": member(resnet, residual, columns, (3,), dropout=0.5),
    "ft_transformer_dropout": member(
        ft_transformer,
        transformer,
        columns,
        (3,),
        dropout=0.2,
        attention_dropout=0.5,
        hidden_dropout=0.5,
        frequencies=4,
    ),
}
FAMILIES = {
    "tabular_resnet": Family(residual, resnet.VARIANTS, columns, (3,)),
    "ft_transformer": Family(transformer, ft_transformer.VARIANTS, columns, (3,)),
}
