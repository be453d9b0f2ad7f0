"""Models that read several kinds of data."""
