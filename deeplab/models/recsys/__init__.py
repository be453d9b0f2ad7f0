"""Recommender systems."""
