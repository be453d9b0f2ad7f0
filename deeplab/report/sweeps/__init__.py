"""Pages of sweeps and studies."""
