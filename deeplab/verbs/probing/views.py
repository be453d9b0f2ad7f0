"""What is shown of features besides probes, as sections of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from deeplab.core import blocks
from deeplab.core.blocks import Block
from deeplab.representation import Examples, cka, few_shot, two_nn
from deeplab.verbs.probing.features import INPUT

Features = Mapping[str, ndarray]
"""Features of the same examples by layer, [N, D] each."""

SHARES = (0.01, 0.1, 1.0)


def few_labels(lines: Mapping[str, tuple[Examples, Examples]], seed: int) -> Block:
    """Linear probes by the share of the training labels that they see, each line of (train, test)."""
    found = {name: few_shot(*both, SHARES, seed=seed) for name, both in lines.items()}
    counts = next(iter(found.values())).counts
    head = ["features", *(f"{share:.0%}: {count}" for share, count in zip(SHARES, counts, strict=True))]
    body = [[name, *map("{:.1%} ± {:.1%}".format, x.mean, x.deviation)] for name, x in found.items()]
    values, places = {name: np.array(x.mean) for name, x in found.items()}, dict.fromkeys(found, np.log10(counts))
    axis, last = "log10 of the number of labels", tuple(found)[-1:]
    figure = blocks.curve(values, axis, places, percent=True, title="Few labels", reference=last)
    note = "Each share is drawn three times, from each class alike, and at least one example of each."
    return blocks.section("With few labels", figure, blocks.rows(head, body, numeric=True), note=note)


def similarities(own: Features, other: Features, told: str) -> Block:
    """The alignment of each layer with each layer of another network, or of the same, on the same examples."""
    values = np.array([[cka(x, y) for y in other.values()] for x in own.values()])
    note = f"Debiased linear CKA on {len(next(iter(own.values())))} examples: 1 where one is the other, turned; {told}."
    return blocks.section("Similarity of layers", blocks.heat(list(own), list(other), values), note=note)


def spreads(features: Features) -> Block:
    """How the variance of each layer is spread over its principal directions, and of how many dimensions it is."""
    lines, told = {}, []
    for name, x in features.items():
        values = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
        share = values / max(values.sum(), 1e-30)
        lines[name] = np.concatenate([[0.0], np.cumsum(share)[:50]])
        rank = float(np.exp(-np.sum(share * np.log(np.maximum(share, 1e-30)))))
        told.append([name, x.shape[1], f"{rank:.1f}", _dimension(x)])
    figure = blocks.curve(lines, "number of principal directions", title="Variance by dimension", percent=True)
    table = blocks.rows(["layer", "features", "effective rank", "intrinsic dimension"], told, numeric=True)
    return blocks.section("Dimensions", figure, table)


def _dimension(x: ndarray) -> str:
    copies = len(x) - len(np.unique(x, axis=0))
    return f"{two_nn(x):.1f}" if len(x) - 2 * copies >= 10 else "too few points differ"


def neighborhood(x: Float[ndarray, "N D"], labels: Int[ndarray, " N"], images: ndarray | None, seed: int) -> Block:
    """A map by t-SNE on which near points are near, each an image where there are images.

    Source: van der Maaten and Hinton 2008, https://www.jmlr.org/papers/v9/vandermaaten08a.html.
    """
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(x) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(np.asarray(x, np.float32))
    drawn = blocks.scatter(places, labels, [] if images is None else images[:300])
    note = "By t-SNE, which keeps neighborhoods: distances between groups, and their sizes, mean nothing."
    return blocks.section("Neighborhoods", drawn, note=note)


def filters(params: Any, shape: Sequence[int]) -> list[Block]:
    """The kernels of the first layer of images as pictures, each between its least and its largest value."""
    for leaf in jax.tree.leaves(params):
        kernel = np.asarray(leaf, np.float32)
        if kernel.ndim == 2 and len(kernel) == np.prod(shape) and kernel.shape[1] > 1:
            kernel = kernel.reshape(*shape, -1)
        if kernel.ndim == 4 and kernel.shape[2] == shape[2] and min(kernel.shape[:2]) > 1:
            low, high = kernel.min(axis=(0, 1, 2)), kernel.max(axis=(0, 1, 2))
            shown = np.moveaxis((kernel - low) / np.maximum(high - low, 1e-12), -1, 0)[:64]
            cards = blocks.cards([blocks.card("", blocks.picture(each)) for each in shown], compact=True)
            return [blocks.section("First filters", cards)]
    return []


def units(features: Features, images: ndarray, each: int = 4, examples: int = 8) -> Block:
    """The examples that the units of each layer answer to most; of each layer, the units that vary most."""
    rows = []
    for name, x in features.items():
        for unit in np.argsort(-x.std(axis=0), kind="stable")[:each]:
            best = np.argsort(-x[: len(images), unit], kind="stable")[:examples]
            pictures = [blocks.picture(images[i], f"{x[i, unit]:.3g}") for i in best]
            rows.append(blocks.card(f"{name}, unit {unit}", *pictures))
    note = "Features are means over places. Units of layers that are wider than 1,024 are random directions."
    return blocks.section("What units answer to", blocks.cards(rows), note=note)


def looked(
    trained: Sequence[Any], random: Sequence[Any], best: str, images: ndarray | None, params: Any, seed: int
) -> list[Block]:
    """All sections of one network but its similarities.

    Args:
      trained: Features by layer and classes, of the training examples and of the test examples.
      random: The same of initial weights.
      best: Name of the layer that stands for the network.
      images: Images of the test examples, if they are images.
      params: Parameters of the network.
      seed: Seed of the draws.
    """
    ((x, y), (x_test, y_test)), ((r, _), (r_test, _)) = trained, random
    lines = {best: ((x[best], y), (x_test[best], y_test)), "initial weights": ((r[best], y), (r_test[best], y_test))}
    found = [few_labels(lines, seed), spreads(x_test), neighborhood(x_test[best], y_test, images, seed)]
    if images is not None:
        inner = {name: features for name, features in x_test.items() if name != INPUT}
        found += [*filters(params, images.shape[1:]), units(inner, images)]
    return found
