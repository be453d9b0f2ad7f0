"""Explanations to look at: overlays, words in signed colors, bars and swarms, in a notebook and on a page."""
