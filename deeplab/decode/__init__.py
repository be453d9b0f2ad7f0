"""Decoding: sampling and beam search over one protocol, and the search for CTC transcripts."""
