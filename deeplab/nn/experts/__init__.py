"""Mixtures of experts: who is asked, and what they answer."""
