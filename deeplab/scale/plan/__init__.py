"""Plans of training steps: memory, FLOPs, communication and time on a mesh, without its devices."""
