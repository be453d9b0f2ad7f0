"""From data to noise and back: schedules, processes, samplers and likelihoods, which know no network."""
