"""Run directories: what a run records, its checkpoints, and the way from an empty directory to the end."""
