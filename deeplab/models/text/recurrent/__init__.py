"""Decoders whose memory is a state."""
