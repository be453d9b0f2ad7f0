"""Tables of a user: columns, splits and what was read."""
