"""Sets of time series."""
