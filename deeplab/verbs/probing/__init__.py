"""What the layers of a run have learned: their features, and what probes read from them."""
