"""Convolutional classifiers."""
