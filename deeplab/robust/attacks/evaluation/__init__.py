"""Evaluations by attacks: robust accuracy, AutoAttack, and what makes them doubtful."""
