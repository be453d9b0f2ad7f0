"""Training: state, step, loop, checkpoints, and the run directory that records them."""
