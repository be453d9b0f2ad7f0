"""What a run is: its sources, its data, and what it was made with."""
