"""Methods that exchange parts of the input for a baseline, and look at the score."""
