"""What a step needs of a mesh, without the devices."""
