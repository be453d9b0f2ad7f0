"""Recurrent layers, and the scan beneath them."""
