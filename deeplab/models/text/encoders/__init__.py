"""Models that read a whole sequence."""
