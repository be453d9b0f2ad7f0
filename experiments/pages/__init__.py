"""Pages of the studies: how their runs are summarized and drawn."""
