"""The contracts of model, task and data, checked before the first step."""
