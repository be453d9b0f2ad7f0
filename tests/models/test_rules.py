"""Every public model carries the sharding rules of its file."""

import dataclasses
import inspect
import sys

import pytest

from deeplab import models

MODELS = {name: model for name in models.__all__ if inspect.isclass(model := getattr(models, name))}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_carries_the_rules_of_its_file(name):
    """As a class attribute, and not as a field, which would change the constructor."""
    model = MODELS[name]
    assert model.rules is sys.modules[model.__module__].RULES
    assert "rules" not in {field.name for field in dataclasses.fields(model)}
