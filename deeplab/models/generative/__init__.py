"""Networks of generative models."""
