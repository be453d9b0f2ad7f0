"""What goes with training: its surroundings, progress, a budget of time, and how it ends."""
