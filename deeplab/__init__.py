"""deeplab."""
