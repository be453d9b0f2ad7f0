"""Text: what attention looks at, and what tokens a model's words rest on."""
