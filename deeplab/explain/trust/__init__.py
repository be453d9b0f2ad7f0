"""How far an explanation can be trusted: metrics, controls, and a report of methods for a model and its data."""
