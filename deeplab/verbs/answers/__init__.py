"""Questions that many runs answer: their rows as a table, folds, two experiments, and how far the runs are."""
