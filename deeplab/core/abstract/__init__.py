"""Programs evaluated with other values than arrays: what several interpretations share."""
