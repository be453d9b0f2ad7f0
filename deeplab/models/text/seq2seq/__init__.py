"""Models that write one sequence after reading another."""
