"""Commands of the first hour, about no experiment: `deeplab new`, `deeplab doctor`."""
