"""The attribution compiler: programs evaluated at an input and at a baseline at once, by exchangeable rules."""
