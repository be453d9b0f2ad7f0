"""Methods that follow the gradient: at a point, over noise, along a path, within a layer."""
