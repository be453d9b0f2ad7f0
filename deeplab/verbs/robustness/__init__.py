"""How far the predictions of a run can be trusted: attacked, corrupted, calibrated, covered, and unfamiliar inputs."""
