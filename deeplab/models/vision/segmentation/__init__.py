"""Models that give each pixel a class."""
