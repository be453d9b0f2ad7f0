"""Linear recurrences over time, computed in parallel."""
