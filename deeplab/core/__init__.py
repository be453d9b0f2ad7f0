"""What every room may use: errors, precision, lazy names."""
