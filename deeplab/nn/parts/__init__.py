"""Parts that the families of transformers are tables of."""
