"""Parts that families of models are tables of."""
