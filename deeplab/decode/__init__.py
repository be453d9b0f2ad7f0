"""Decoding: sampling, beam search, CTC."""
