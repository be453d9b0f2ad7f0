"""What a run is made of: each of twelve kinds of change is refused with the difference, or is another run."""

import functools
import importlib
import linecache
import shutil
import sys
import types

import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.runs.identity import provenance

HELPER = """
import functools
from box.deeper import scale
import numpy as np

WIDTH = 4
TABLE = np.arange(4)

def layer(width, extra=0):
    return int(width + extra + scale(0) + TABLE[0])

activation = lambda x: x
rate = functools.partial(max, 0.05)
"""
CELL = """
import deeplab as dl
import numpy as np
import optax
from box import helper
RATE = 0.1
shift = lambda x: x + 0.0
pick = functools.partial(min, 1.0)
BIAS = np.zeros(3)
def inner(x, power=1): return x ** power
def experiment(fold: int = 0) -> dl.Experiment:
    data = dl.data.table(FILE, target="kind", fold=fold, folds=4, batch_size=4, num_steps=2)
    rate = pick(shift(inner(RATE) + BIAS[0]))
    return dl.Experiment(data, dl.models.TabularMLP(helper.layer(helper.WIDTH)), data.task, optax.sgd(rate))
"""
